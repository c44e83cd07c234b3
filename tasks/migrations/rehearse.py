#!/usr/bin/env python3
"""Walks all migrations on an empty database of its own, forward and back, and writes down what they do.

    rehearse.py REPORT

Forward from nothing; then, for each app of the site, one migration back and forward again, after which the schema has to be what it was.
REPORT gets the plan and the SQL of every migration. The database `test_rehearsal_…` is made on the server that database.py describes, and
removed, however this ends. Run by the Python of app-venv.
"""

import os
import signal
import sys
from pathlib import Path

from database import Database, Failure
from manage import BACKEND, manage


def tell(*words: str) -> str:
    said = manage(*words)
    if said.returncode != 0:
        raise Failure(f"`manage.py {' '.join(words)}` failed")
    return said.stdout


def walk(database: Database) -> str:
    report = "Plan\n" + tell("migrate", "--plan", "--no-color")
    found = sorted(BACKEND.glob("*/migrations/[0-9]*.py"))
    for file in found:
        report += f"\n{file.parts[-3]} {file.stem}\n" + tell("sqlmigrate", "--no-color", file.parts[-3], file.stem)
    tell("migrate", "--no-input", "--verbosity", "0")
    if database.damage():
        raise Failure(f"not sound after all migrations: {'; '.join(database.damage())}")
    apps: dict[str, list[str]] = {}
    for file in found:
        apps.setdefault(file.parts[-3], []).append(file.stem)
    for app, names in apps.items():
        before = database.schema()
        tell("migrate", "--no-input", "--verbosity", "0", app, names[-2] if len(names) > 1 else "zero")
        tell("migrate", "--no-input", "--verbosity", "0")
        if database.schema() != before:
            raise Failure(f"{app} {names[-1]}: back and forward again does not give the same schema")
        print(f"{app} {names[-1]}: back and forward again gives the same schema")
    return report


def main(words: list[str]) -> int:
    if len(words) != 1:
        print("usage: rehearse.py REPORT", file=sys.stderr)
        return 2
    out = Path(words[0])
    engine = os.environ.get("ANALYTICS_DB_ENGINE") or "postgresql"
    os.environ["ANALYTICS_DB_NAME"] = name = f"test_rehearsal_{engine}_{os.getpid()}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        database = Database()
        neighbour = "postgres" if database.engine == "postgresql" else "information_schema"
        database.run(f"CREATE DATABASE {name};", neighbour)
        try:
            report = walk(database)
        finally:
            database.run(f"DROP DATABASE {name};", neighbour)
    except Failure as failure:
        print(f"rehearse.py: {failure}", file=sys.stderr)
        return 1
    out.write_text(report, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
