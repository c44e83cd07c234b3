#!/usr/bin/env python3
"""Migrates the site's database: backup first, integrity after, and the way back.

    migrate.py run FOLDER [WORDS…]     plan, backup into FOLDER, migrate (WORDS go to manage.py migrate), look at the result
    migrate.py restore FOLDER [NAME]   the database becomes again what it was when NAME was made

NAME is what `run` writes as `snapshot_id` to $IACT_EXPORTS; without an argument it is taken from the variable snapshot_id. If there is
none, `run` came to no backup and has changed nothing. Run by the Python of app-venv; what it connects to is described in database.py.
Exit 1: it failed, and the message says in what state the database is. Exit 2: called wrongly.
"""

import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from database import Database, Failure, digest_of
from manage import manage


def plan(words: list[str]) -> str:
    """What would be done, empty if nothing."""
    said = manage("migrate", "--plan", "--no-color", *words)
    if said.returncode != 0:
        raise Failure("the plan cannot be made; nothing was changed")
    return "" if "No planned migration operations" in said.stdout else said.stdout


def backup(database: Database, folder: Path) -> Path:
    """A dump that was read back, named for the next step before anything is changed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{database.engine}-{database.name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}.sql.gz"
    database.dump(folder / name)
    if exports := os.environ.get("IACT_EXPORTS"):
        with open(exports, "a", encoding="utf-8") as file:
            file.write(f"snapshot_id={name}\n")
    return folder / name


def integrity(database: Database, before: dict[str, int], words: list[str]) -> list[str]:
    """What is wrong after all migrations have run."""
    wrong = database.damage()
    after = database.tables()
    wrong += [
        f"{table}: {rows} rows before, {after[table]} now"
        for table, rows in before.items()
        if table in after and after[table] < rows
    ]
    if not words and manage("migrate", "--check").returncode != 0:
        wrong.append("migrations are left over")
    if manage("check", "--database", "default").returncode != 0:
        wrong.append("manage.py check finds mistakes")
    return wrong


def run(folder: Path, words: list[str]) -> None:
    database = Database()
    database.run("SELECT 1;")
    if not (steps := plan(words)):
        note_nothing()
        print(f"{database}: nothing to migrate")
        return
    print(steps, end="")
    before = database.tables()
    snapshot = backup(database, folder)
    print(f"backup: {snapshot}, {snapshot.stat().st_size} bytes", flush=True)
    said = manage("migrate", "--no-input", "--no-color", *words)
    print(said.stdout, end="")
    way_back = f"the way back: migrate.py restore {folder} {snapshot.name}"
    if said.returncode != 0:
        raise Failure(f"{database}: the migration failed and may have stopped half-way; {way_back}")
    if wrong := integrity(database, before, words):
        raise Failure(f"{database}: migrated, but not sound: {'; '.join(wrong)}; {way_back}")
    print(f"{database}: migrated and sound, {len(database.tables())} tables")


def note_nothing() -> None:
    """The declared export, when there was nothing to keep."""
    if exports := os.environ.get("IACT_EXPORTS"):
        with open(exports, "a", encoding="utf-8") as file:
            file.write("snapshot_id=none\n")


def restore(folder: Path, name: str) -> None:
    if name in ("", "none"):
        print("no backup was made, so nothing was changed: nothing to restore")
        return
    database, snapshot = Database(), folder / name
    wanted = digest_of(snapshot, database.engine)
    database.fill(snapshot)
    again = folder / f"{name}.restored"
    try:
        database.dump(again)
        if digest_of(again, database.engine) != wanted:
            raise Failure(f"{database}: restored from {snapshot}, but not equal to it; the backup is kept")
    finally:
        again.unlink(missing_ok=True)
    print(f"{database}: restored from {snapshot} and equal to it")


def main(words: list[str]) -> int:
    try:
        match words:
            case ["run", folder, *more]:
                run(Path(folder), more)
            case ["restore", folder]:
                restore(Path(folder), os.environ.get("snapshot_id", ""))
            case ["restore", folder, name]:
                restore(Path(folder), name)
            case _:
                print("usage: migrate.py run FOLDER [WORDS…] | restore FOLDER [NAME]", file=sys.stderr)
                return 2
    except (Failure, OSError) as failure:
        print(f"migrate.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
