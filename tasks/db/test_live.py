#!/usr/bin/env python3
"""Runs db-dump-live and db-restore as a person would, against servers that last as long as this check.

    test_live.py

In a copy of this workspace's Iactfile and tasks, with a cache of its own: `iact up` holds both databases, which are then
dumped, changed and restored. Looks at exit codes, at what is kept, and that the password is nowhere. Needs what the targets
need, and the iact that runs this, or one on PATH.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(TASKS, "cpython")]
from publish import iact  # noqa: E402
from server import server  # noqa: E402

PASSWORD = "c4nary-live-p4ssw0rd"
KINDS = {"postgres": "iact_analytics", "mariadb": "ivr_legacy"}


class Check:
    def __init__(self, folder):
        self.folder, self.work = folder, f"{folder}/work"
        os.mkdir(self.work)
        shutil.copy(f"{TASKS}/../Iactfile.toml", self.work)
        shutil.copytree(TASKS, f"{self.work}/tasks")
        with open(f"{self.work}/Iactfile.toml") as file:
            text = file.read()
        # The servers' own password becomes the one that nobody may see.
        with open(f"{self.work}/Iactfile.toml", "w") as file:
            file.write(text.replace('"django_pass"', f'"{PASSWORD}"'))
        with open(f"{self.work}/.env", "w") as file:
            file.write(f"DB_PASSWORD={PASSWORD}\n")
        self.env = {**os.environ, "IACT_CACHE_DIR": f"{folder}/cache"}
        self.env.pop("DB_PASSWORD", None)
        os.environ |= {"DB_USER": "django_user", "DB_PASSWORD": PASSWORD}

    def iact(self, *words, code=0, says="", **env):
        done = subprocess.run(
            [iact(), *words], cwd=self.work, env={**self.env, **env}, capture_output=True, text=True, timeout=300
        )
        said = done.stdout + done.stderr
        if done.returncode != code or says not in said or PASSWORD in said:
            sys.exit(f"test_live.py: iact {' '.join(words)}: exit {done.returncode} instead of {code}, `{says}`:\n{said}")
        return done.stdout

    def up(self):
        """Both services, held; their addresses."""
        process = subprocess.Popen([iact(), "up", *KINDS], cwd=self.work, env=self.env, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            told = {one["service"]: one for one in json.loads(self.iact("ps", "--json"))}
            if all(told.get(kind, {}).get("state") == "ready" for kind in KINDS):
                return process, {kind: f"127.0.0.1:{told[kind]['port']}" for kind in KINDS}
            time.sleep(0.2)
        process.terminate()
        sys.exit("test_live.py: the services do not come up")

    def held_nowhere(self):
        """The password is in no file of the workspace and the cache but those that declare it."""
        for place in (self.work, f"{self.folder}/cache"):
            for folder, _, names in os.walk(place):
                for name in names:
                    path = os.path.join(folder, name)
                    declares = name in ("Iactfile.toml", ".env")
                    if "/.iact/services/" in path or "/work/tasks/" in path or declares or not os.path.isfile(path):
                        continue
                    with open(path, "rb") as file:
                        if PASSWORD.encode() in file.read():
                            sys.exit(f"test_live.py: the password is in {path}")

    def run(self, at):
        given = [f"{kind}_at={address}" for kind, address in at.items()]
        self.iact("build", "db-dump-live", *given, code=1, says="has no tables")
        servers = {kind: server(kind, at[kind]) for kind in KINDS}
        for kind, database in KINDS.items():
            with open(f"{HERE}/sample/{kind}.sql", "rb") as sample:
                servers[kind].load(database, [sample.read()])
        facts = {kind: servers[kind].facts(database) for kind, database in KINDS.items()}
        self.iact("build", "db-dump-live", *given)
        self.iact(
            "build", "db-dump-live", *given, "--force", code=1, says="are DB_USER and DB_PASSWORD right?", DB_PASSWORD="wrong"
        )
        for kind, database in KINDS.items():
            servers[kind].ask("DELETE FROM calls WHERE id > 7", database)
        self.iact("build", "db-restore", *given, code=4, says="Replace the database iact_analytics")
        self.iact("build", "db-restore", *given, "--yes")
        for kind, database in KINDS.items():
            if servers[kind].facts(database) != facts[kind]:
                sys.exit(f"test_live.py: {database} does not hold again what was dumped")
        # What was replaced was kept: it undoes the restore.
        replaced = "dump=dist/replaced/iact_analytics.sql.gz"
        self.iact("build", "db-restore[db=postgres]", *given, replaced, "--approve", "db-restore[db=postgres]")
        if servers["postgres"].facts(KINDS["postgres"])["public.calls"]["rows"] != 7:
            sys.exit("test_live.py: what was replaced did not come back")
        sound = self.iact("artifact", "verify", "db-dump-live", "db-restore")
        if sound.count("sound") != 5 or "damaged" in sound:
            sys.exit(f"test_live.py: five generations were expected:\n{sound}")
        self.held_nowhere()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="test-live-") as folder:
        os.chmod(folder, 0o755)  # nosec B103
        check = Check(folder)
        process, at = check.up()
        try:
            check.run(at)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    print("dumped, refused, confirmed, restored, undone and verified; the password is nowhere")


if __name__ == "__main__":
    main()
