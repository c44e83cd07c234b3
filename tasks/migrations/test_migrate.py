#!/usr/bin/env python3
"""A migration that fails half-way, one that loses rows, a backup that cannot be written: the database is what it was before.

    test_migrate.py

Works in a database of its own, test_migrate_…, on each of the two servers: PG_PORT, MARIADB_PORT, DB_USER, DB_PASSWORD. Run by the Python
of app-venv.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from database import Database
from manage import BACKEND

HERE = Path(__file__).resolve().parent
HALF_WAY = """
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("analytics", "0002_talk_time")]
    operations = [
        migrations.AddField(model_name="agentday", name="note", field=models.CharField(max_length=9, null=True)),
        migrations.RunSQL("UPDATE analytics_agentday SET calls = 99;"),
        migrations.RunSQL("UPDATE no_such_table SET calls = 99;"),
    ]
"""
LOSES_ROWS = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("analytics", "0002_talk_time")]
    operations = [migrations.RunSQL("DELETE FROM analytics_agentday WHERE calls = 2;")]
"""


class Migrating:
    """The same for both engines."""

    def setUp(self):
        self.name = f"test_migrate_{self.engine}_{os.getpid()}"
        self.scratch = Path(tempfile.mkdtemp(prefix="iact-migrate-"))
        self.backups, self.exports = self.scratch / "backups", self.scratch / "exports"
        self.backend = self.scratch / "backend"
        shutil.copytree(BACKEND, self.backend, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        self.env = {
            **os.environ,
            "ANALYTICS_DB_ENGINE": self.engine,
            "ANALYTICS_DB_PORT": os.environ[self.port],
            "ANALYTICS_DB_NAME": self.name,
            "SITE_BACKEND": str(self.backend),
            "IACT_EXPORTS": str(self.exports),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.database = Database(self.env)
        self.database.run(f"CREATE DATABASE {self.name};", self.neighbour)
        self.addCleanup(shutil.rmtree, self.scratch)
        self.addCleanup(self.database.run, f"DROP DATABASE {self.name};", self.neighbour)
        self.expect(self.migrate("run"), 0, "migrated and sound, 3 tables")
        self.database.run(
            "INSERT INTO analytics_agentday (agent, day, calls, answered, talk_s)"
            " VALUES ('ana', '2025-03-03', 2, 1, 300), ('luis', '2025-03-03', 3, 2, 720);"
        )
        self.before = self.state()

    def state(self):
        rows = self.database.run("SELECT * FROM analytics_agentday ORDER BY id;")
        return self.database.schema(), rows, self.database.run("SELECT app, name FROM django_migrations ORDER BY id;")

    def migrate(self, *words, limit_kib=None, **env):
        limit = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "limited"] if limit_kib is not None else []
        word, *more = words
        command = [*limit, sys.executable, HERE / "migrate.py", word, self.backups, *more]
        done = subprocess.run(command, env={**self.env, **env}, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    def expect(self, found, code, *texts):
        self.assertEqual(found[0], code, found[1])
        for text in texts:
            self.assertIn(text, found[1])
        self.assertNotIn(os.environ["DB_PASSWORD"], found[1])

    def plant(self, text):
        (self.backend / "analytics" / "migrations" / "0003_planted.py").write_text(text, encoding="utf-8")

    def snapshot(self):
        return self.exports.read_text().splitlines()[-1].removeprefix("snapshot_id=")

    def test_what_stopped_half_way_is_taken_back(self):
        self.plant(HALF_WAY)
        self.expect(self.migrate("run"), 1, "may have stopped half-way; the way back: migrate.py restore")
        self.assertNotEqual(self.state(), self.before, "the drill left nothing half-way")
        self.expect(self.migrate("restore", snapshot_id=self.snapshot()), 0, "restored from", "and equal to it")
        self.assertEqual(self.state(), self.before)
        self.assertEqual(oct((self.backups / self.snapshot()).stat().st_mode & 0o777), "0o600")
        (self.backend / "analytics" / "migrations" / "0003_planted.py").unlink()
        self.expect(self.migrate("run"), 0, "nothing to migrate")

    def test_lost_rows_are_noticed_and_come_back(self):
        self.plant(LOSES_ROWS)
        self.expect(self.migrate("run"), 1, "migrated, but not sound: analytics_agentday: 2 rows before, 1 now; the way back")
        self.expect(self.migrate("restore", self.snapshot()), 0, "and equal to it")
        self.assertEqual(self.state(), self.before)

    def test_without_a_backup_nothing_is_migrated(self):
        self.plant(LOSES_ROWS)
        before = sorted(self.backups.iterdir())
        self.expect(self.migrate("run", limit_kib=0), 1, "too large")
        self.expect(self.migrate("run", DB_PASSWORD="not-it-77"), 1, "password" if self.engine == "postgresql" else "denied")
        self.assertEqual(self.state(), self.before)
        self.assertEqual(sorted(self.backups.iterdir()), before, "half a backup was left")
        self.expect(self.migrate("restore", snapshot_id="none"), 0, "nothing to restore")

    def test_a_damaged_backup_is_refused_and_touches_nothing(self):
        self.plant(LOSES_ROWS)
        self.expect(self.migrate("run"), 1, "not sound")
        now, whole = self.state(), (self.backups / self.snapshot()).read_bytes()
        (self.backups / "cut").write_bytes(whole[: len(whole) // 2])
        (self.backups / "empty").write_bytes(bytes.fromhex("1f8b08000000000000030300000000000000000000"[:40]))
        for name in ("cut", "empty"):
            self.expect(self.migrate("restore", name), 1, f"{name} is no whole dump")
        self.expect(self.migrate("restore", "no-such"), 1, "no-such is no whole dump")
        self.assertEqual(self.state(), now)


class OnPostgreSQL(Migrating, unittest.TestCase):
    engine, port, neighbour = "postgresql", "PG_PORT", "postgres"


class OnMariaDB(Migrating, unittest.TestCase):
    engine, port, neighbour = "mariadb", "MARIADB_PORT", "information_schema"


class Dangers(unittest.TestCase):
    HEAD = "from django.db import migrations, models\nclass Migration(migrations.Migration):\n    operations = [\n"

    def read(self, operation, comment=""):
        with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as file:
            file.write(f"{comment}\n{self.HEAD}        {operation}\n    ]\n")
            file.flush()
            done = subprocess.run(
                [sys.executable, HERE / "dangerous.py", file.name], capture_output=True, text=True, check=False
            )
        return done.returncode, done.stderr

    def test_each_dangerous_operation_is_found_and_only_those(self):
        field = "model_name='a', name='b', field="
        cases = {
            "migrations.RemoveField('a', 'b')": 1,
            "migrations.DeleteModel('a')": 1,
            "migrations.RenameField('a', 'b', 'c')": 1,
            "migrations.RenameModel('a', 'b')": 1,
            f"migrations.AlterField({field}models.CharField(max_length=9))": 1,
            f"migrations.AlterField({field}models.CharField(max_length=9, null=False))": 1,
            f"migrations.AlterField({field}models.CharField(max_length=9, null=True))": 0,
            f"migrations.AddField({field}models.IntegerField())": 1,
            "migrations.AddField('a', 'b', models.IntegerField())": 1,
            f"migrations.AddField({field}models.IntegerField(null=True))": 0,
            f"migrations.AddField({field}models.IntegerField(default=0))": 0,
            f"migrations.AddField({field}models.ManyToManyField('c'))": 0,
            "migrations.RunSQL('DROP TABLE a')": 1,
            "migrations.RunSQL('SELECT 1', migrations.RunSQL.noop)": 0,
            "migrations.RunPython(f, reverse_code=g)": 0,
            "migrations.CreateModel('a', fields=[('b', models.IntegerField())])": 0,
            "RemoveField": 0,
        }
        for operation, code in cases.items():
            with self.subTest(operation):
                found = self.read(operation)
                self.assertEqual(found[0], code, found[1])
                self.assertEqual("DANGEROUS_MIGRATION_APPROVED" in found[1], bool(code))

    def test_an_approval_counts_in_its_own_file_and_as_a_comment_only(self):
        self.assertEqual(self.read("migrations.DeleteModel('a')", "# DANGEROUS_MIGRATION_APPROVED")[0], 0)
        self.assertEqual(self.read("migrations.DeleteModel('a')", "x = '# DANGEROUS_MIGRATION_APPROVED'")[0], 1)

    def test_what_cannot_be_read_is_2(self):
        self.assertEqual(self.read("migrations.DeleteModel(")[0], 2)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(verbosity=2)
