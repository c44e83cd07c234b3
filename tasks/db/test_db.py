#!/usr/bin/env python3
"""Dumps and restores meet what goes wrong: each case looks at the message, the exit code, and what is left.

Starts a PostgreSQL and a MariaDB of its own (tasks/services) in a scratch folder, and ends them. Needs both servers with their
clients; without `age` or user namespaces the cases that need them are skipped.
"""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
PASSWORD = "c4nary-p4ssw0rd"
os.environ |= {"DB_USER": "tester", "DB_PASSWORD": PASSWORD, "DB_STALL_S": "30"}

import prove  # noqa: E402
import restore  # noqa: E402
import server  # noqa: E402
from archive import Trouble  # noqa: E402

KINDS = {"postgres": "iact_analytics", "mariadb": "ivr_legacy"}
PACKED = ".sql.gz"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(holds, limit_s=20):
    end = time.monotonic() + limit_s
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return held


def content(path):
    with open(path, "rb") as file:
        return file.read()


class Service:
    """A server of tasks/services, in a process group of its own."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.script = os.path.join(HERE, "..", "services", f"{kind}.sh")
        self.env = {**os.environ, "POSTGRES_PASSWORD": "root-" + PASSWORD, "MARIADB_ROOT_PASSWORD": "root-" + PASSWORD}
        os.makedirs(folder)
        os.chmod(folder, 0o755)  # nosec B103
        self.start()

    def start(self):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        with open(f"{self.folder}.log", "ab") as log:
            argv = [self.script, self.folder, str(self.port)]
            self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, start_new_session=True)
        ready = [self.script, "--ready", str(self.port)]
        if not until(lambda: subprocess.run(ready, env=self.env).returncode == 0, 60):
            raise RuntimeError(f"{self.kind} does not start: {content(f'{self.folder}.log')[-500:]}")

    def signal(self, number):
        """To the server and all its processes; PostgreSQL's are sessions' leaders."""
        pids = [self.process.pid, *self.below(self.process.pid)]
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def below(self, pid):
        found = subprocess.run(["ps", "--no-headers", "-o", "pid", "--ppid", str(pid)], capture_output=True, text=True)
        children = [int(word) for word in found.stdout.split()]
        return children + [deeper for child in children for deeper in self.below(child)]

    def end(self):
        self.signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT if self.kind == "postgres" else signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def server(self):
        return server.server(self.kind, self.address)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="test-db-")
        os.chmod(cls.place, 0o755)  # nosec B103
        cls.services = {}
        try:
            for kind in KINDS:
                cls.services[kind] = Service(kind, f"{cls.place}/{kind}")
            for kind in KINDS:
                cls.dump_well(kind, f"{cls.place}/{kind}.sql.gz", "--sample", f"{HERE}/sample/{kind}.sql")
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        for service in cls.services.values():
            service.end()
        shutil.rmtree(cls.place)

    @classmethod
    def dump_well(cls, kind, out, *more):
        code, text = cls.dump(kind, out, *more)
        if code:
            raise AssertionError(text)

    @classmethod
    def manifest_of(cls, out):
        return out[: out.index(PACKED)] + ".tables.json"

    @classmethod
    def dump(cls, kind, out, *more, **env):
        address, database = cls.services[kind].address, env.pop("database", KINDS[kind])
        return cls.run_script("dump.py", kind, env.pop("address", address), database, out, cls.manifest_of(out), *more, **env)

    @classmethod
    def prove(cls, kind, path, manifest, *more, **env):
        return cls.run_script("prove.py", cls.services[kind].address, path, manifest, *more, **env)

    @staticmethod
    def run_script(name, *arguments, **env):
        """Exit code and everything it said, in which the password must not be."""
        done = subprocess.run(
            [f"{HERE}/{name}", *arguments], env={**os.environ, **env}, capture_output=True, text=True, timeout=120
        )
        text = done.stdout + done.stderr
        assert PASSWORD not in text and "Traceback" not in text, text
        return done.returncode, text

    def setUp(self):
        began = time.monotonic()
        self.addCleanup(lambda: print(f"{time.monotonic() - began:.1f} s ", end="", file=sys.stderr))
        self.folder = tempfile.mkdtemp(prefix="case-", dir=self.place)

    def scratch_databases(self, kind):
        sql = "SELECT datname FROM pg_database" if kind == "postgres" else "SHOW DATABASES"
        asked = self.services[kind].server()
        return [
            name for (name,) in asked.ask(sql, asked.HOME) if name.startswith(("test_proof", "test_restore", "test_replaced"))
        ]

    def tearDown(self):
        for kind, service in self.services.items():
            if service.process.poll() is None:
                self.assertEqual(self.scratch_databases(kind), [], "a scratch database is left")
        left = [name for name in os.listdir(self.folder) if name.startswith(".")]
        self.assertEqual(left, [], "temporary files are left")

    def good(self, kind):
        """A copy of a good dump with its manifest, in the case's own folder."""
        for end in (PACKED, ".tables.json"):
            shutil.copy(f"{self.place}/{kind}{end}", self.folder)
        return f"{self.folder}/{kind}.sql.gz", f"{self.folder}/{kind}.tables.json"

    def fails(self, outcome, *texts, code=1):
        self.assertEqual(outcome[0], code, outcome[1])
        for text in texts:
            self.assertIn(text, outcome[1])
        self.assertEqual(len(outcome[1].strip().splitlines()), 1, f"one message: {outcome[1]}")

    def intact(self, *paths):
        """A context in which files do not change."""
        before = {path: content(path) for path in paths}

        class Same:
            def __enter__(self):
                return self

            def __exit__(this, *_):
                for path, known in before.items():
                    self.assertEqual(content(path), known, f"{path} has changed")

        return Same()

    def sql(self, kind, text):
        return self.services[kind].server().ask(text, KINDS[kind])

    def locker(self, kind):
        """A client that holds a table until it is killed; with the application's rights."""
        text = {
            "postgres": "BEGIN; LOCK TABLE calls IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(100);",
            "mariadb": "LOCK TABLES calls WRITE; SELECT sleep(100);",
        }[kind]
        asked = self.services[kind].server()
        client = server.Client(asked.client(KINDS[kind]), asked.env, subprocess.PIPE)
        self.addCleanup(client.__exit__)
        client.feed(text.encode())
        client.process.stdin.close()
        client.process.stdin = None
        held = {
            "postgres": "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'calls'::regclass",
            "mariadb": "SHOW OPEN TABLES WHERE `Table` = 'calls' AND In_use > 0",
        }[kind]
        self.assertTrue(until(lambda: self.sql(kind, held)), "the table is locked")
        return client

    def waits(self, kind):
        """A dump has come to the table that is held."""
        sql = {
            "postgres": "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            "mariadb": "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'",
        }[kind]
        self.assertTrue(until(lambda: self.sql(kind, sql)), "it waits for the table")

    def begun(self, script, *arguments, **env):
        process = subprocess.Popen(
            [f"{HERE}/{script}", *arguments],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.stdout.close)
        return process

    def test_the_same_data_give_the_same_bytes(self):
        self.sql("postgres", "UPDATE calls SET seconds = seconds WHERE id % 7 = 0")  # moves the rows
        for kind in KINDS:
            path, manifest = self.good(kind)
            with self.intact(path, manifest):
                self.dump_well(kind, path)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            code, text = self.prove(kind, path, manifest)
            self.assertEqual(code, 0, text)

    def test_who_is_not_let_in_is_told_so(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            with self.intact(path, manifest):
                self.fails(self.dump(kind, path, DB_PASSWORD="wr0ng-canary"), "are DB_USER and DB_PASSWORD right?")
                self.assertNotIn("wr0ng-canary", self.dump(kind, path, DB_PASSWORD="wr0ng-canary")[1])
                self.fails(self.dump(kind, path, DB_PASSWORD=""), "DB_PASSWORD of the environment")
                self.fails(self.prove(kind, path, manifest, DB_PASSWORD="wr0ng-canary"), "are DB_USER and DB_PASSWORD right?")

    def test_what_is_not_there_is_named(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            with self.intact(path, manifest):
                self.fails(self.dump(kind, path, address=f"127.0.0.1:{free_port()}"), "does a server run there?")
                self.fails(self.dump(kind, path, database="nobody"), "has no database `nobody`")
                self.fails(self.dump(kind, path, database="a;b"), "is no name of a database")
                other = {"postgres": "ivr_legacy", "mariadb": "iact_analytics"}[kind]
                self.fails(self.dump(kind, path, database=other), "has no tables")
                self.fails(self.prove(kind, f"{self.folder}/absent.sql.gz", manifest), "No such file")
        self.fails(self.dump("postgres", path, address="here"), "is not HOST:PORT")
        self.fails(self.run_script("dump.py", "oracle", "h:1", "d", path, manifest), "postgres or mariadb")

    def test_a_damaged_dump_is_not_restored(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            whole, text = content(path), gzip.decompress(content(path))
            self.fails(
                self.prove(kind, self.written(whole[: len(whole) // 2]), manifest), "is damaged", "unexpected end of file"
            )
            self.fails(self.prove(kind, self.written(gzip.compress(b"")), manifest), "is truncated")
            lines = text.splitlines(keepends=True)
            self.fails(self.prove(kind, self.written(gzip.compress(b"".join(lines[:-8]))), manifest), "is truncated")
            self.fails(self.prove(kind, self.written(gzip.compress(text + b"\n")), manifest), "not the dump its manifest")
            self.fails(self.prove(kind, path, self.written(b"{}", ".json")), "is no manifest of a dump")
            known = json.loads(content(manifest))
            table = next(name for name in known["tables"] if name.endswith("calls"))
            known["tables"][table]["rows"] += 1
            self.fails(
                self.prove(kind, path, self.written(json.dumps(known).encode(), ".json")), "has 5000 rows instead of 5001"
            )

    def written(self, data, end=PACKED):
        number, path = tempfile.mkstemp(prefix="x", suffix=end, dir=self.folder)
        with open(number, "wb") as file:
            file.write(data)
        return path

    def test_a_full_disk_leaves_the_old_dump(self):
        path, manifest = self.good("postgres")
        script = 'mount -t tmpfs -o size=40k none "$1" && "$2" postgres "$3" iact_analytics "$1/o.sql.gz" "$1/o.json"\n'
        script += 'c=$?; ls -A "$1"; exit $c'
        os.mkdir(f"{self.folder}/full")
        unshared = ["unshare", "-rm", "bash", "-c"]
        if subprocess.run([*unshared, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
            self.skipTest("no right to mount a small file system: no user namespaces here")
        argv = [*unshared, script, "-", f"{self.folder}/full", f"{HERE}/dump.py", self.services["postgres"].address]
        done = subprocess.run(argv, capture_output=True, text=True)
        self.assertIn("No space left on device", done.stderr)
        self.assertEqual((done.returncode, done.stdout), (1, ""), "nothing is left on the disk")

    def test_a_server_that_is_killed_in_the_middle(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            self.locker(kind)
            with self.intact(path, manifest):
                process = self.begun("dump.py", kind, self.services[kind].address, KINDS[kind], path, manifest)
                self.waits(kind)
                self.services[kind].signal(signal.SIGKILL)
                said = process.communicate(timeout=30)[0]
                self.services[kind].process.wait()
                self.fails((process.returncode, said), "failed: ", "the server went away")
            self.services[kind].start()
            self.dump_well(kind, path)

    def test_a_server_that_stops_answering(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            self.services[kind].signal(signal.SIGSTOP)
            try:
                with self.intact(path, manifest):
                    outcome = self.dump(kind, path, DB_STALL_S="2", PGCONNECT_TIMEOUT="60")
                    self.fails(outcome, "the server stopped answering")
            finally:
                self.services[kind].signal(signal.SIGCONT)

    def test_who_is_asked_to_end_leaves_nothing(self):
        for kind in KINDS:
            path, manifest = self.good(kind)
            client = self.locker(kind)
            with self.intact(path, manifest):
                process = self.begun("dump.py", kind, self.services[kind].address, KINDS[kind], path, manifest)
                self.waits(kind)
                children = self.services[kind].below(process.pid)
                self.assertTrue(children)
                process.terminate()
                self.assertEqual(process.wait(20), 143)
                self.assertFalse([pid for pid in children if os.path.exists(f"/proc/{pid}")], "a client is left")
            client.__exit__()
            # The copy's text comes from a pipe that stays silent: the scratch database is there, and goes.
            os.mkfifo(f"{self.folder}/{kind}-pipe.sql.gz")
            process = self.begun("prove.py", self.services[kind].address, f"{self.folder}/{kind}-pipe.sql.gz", manifest)
            with open(f"{self.folder}/{kind}-pipe.sql.gz", "wb"):
                self.assertTrue(until(lambda kind=kind: self.scratch_databases(kind)), "the scratch database is there")
                process.terminate()
                self.assertEqual(process.wait(20), 143)

    @unittest.skipUnless(shutil.which("age"), "no `age` here: apt-get install age")
    def test_encrypted_dumps_need_their_key(self):
        keys = {}
        for name in ("right", "wrong"):
            keys[name] = f"{self.folder}/{name}.key"
            subprocess.run(["age-keygen", "-o", keys[name]], check=True, capture_output=True)
        recipient = subprocess.run(
            ["age-keygen", "-y", keys["right"]], check=True, capture_output=True, text=True
        ).stdout.strip()
        sealed = f"{self.folder}/sealed.sql.gz.age"
        self.dump_well("mariadb", sealed, "--recipient", recipient)
        manifest = self.manifest_of(sealed)
        self.assertTrue(content(sealed).startswith(b"age-encryption.org"))
        self.assertEqual(self.prove("mariadb", sealed, manifest, "--identity", keys["right"])[0], 0)
        self.fails(self.prove("mariadb", sealed, manifest), "is encrypted: age_identity=FILE")
        self.fails(self.prove("mariadb", sealed, manifest, "--identity", "/absent.key"), "the key `/absent.key` is not there")
        self.fails(
            self.prove("mariadb", sealed, manifest, "--identity", keys["wrong"]), "cannot be decrypted", "no identity matched"
        )
        with self.intact(sealed, manifest):
            self.fails(self.dump("mariadb", sealed, "--recipient", "age1nobody"), "malformed recipient")
            poor = f"{self.folder}/bin"
            os.mkdir(poor)
            for tool in ("env", "python3", "gzip", "mariadb", "mariadb-dump"):
                os.symlink(shutil.which(tool), f"{poor}/{tool}")
            self.fails(self.dump("mariadb", sealed, "--recipient", recipient, PATH=poor), "no `age` here: apt-get install age")

    def test_a_restore_that_fails_puts_the_database_back(self):
        for kind, database in KINDS.items():
            path, manifest = self.good(kind)
            target, known = self.services[kind].server(), prove.read_manifest(manifest)
            wrong = {**known, "tables": {**known["tables"], "ghost": {"rows": 1, "digest": "0"}}}
            with self.assertRaisesRegex(Trouble, "ghost is missing"):
                if kind == "postgres":
                    target.create("test_restore_copy", known["nature"])
                    restore.replace_by_renaming(target, database, "test_restore_copy", wrong)
                else:
                    asked = types.SimpleNamespace(dump=path, before=path, identity="", recipient="")
                    restore.replace_by_loading(target, database, asked, wrong, known)
            self.assertEqual(target.facts(database), known["tables"])

    def test_a_restore_while_somebody_is_connected(self):
        for kind, database in KINDS.items():
            path, manifest = self.good(kind)
            asked = self.services[kind].server()
            client = server.Client(asked.client(database), asked.env, subprocess.PIPE)
            client.feed(b"SELECT 1;\n")
            other = {"postgres": "mariadb", "mariadb": "postgres"}[kind]
            outcome = self.run_script("restore.py", other, self.services[other].address, database, path, manifest, "b", "m")
            self.fails(outcome, f"is a dump of {kind}, not of {other}")
            before = (f"{self.folder}/{kind}-before.sql.gz", f"{self.folder}/{kind}-before.json")
            self.sql(kind, "DELETE FROM calls WHERE id > 100")
            outcome = self.run_script("restore.py", kind, self.services[kind].address, database, path, manifest, *before)
            client.__exit__()
            self.assertEqual(outcome[0], 0, outcome[1])
            self.assertEqual(asked.facts(database), prove.read_manifest(manifest)["tables"])
            rows = [
                table["rows"] for name, table in prove.read_manifest(before[1])["tables"].items() if name.endswith("calls")
            ]
            self.assertEqual(rows, [100], "what was replaced has been dumped")


if __name__ == "__main__":
    unittest.main(verbosity=2)
