#!/usr/bin/env python3
"""Bad days of the services and of those who look after them: each gives one message with the remedy and the right exit code.

    test_services.py

Starts throw-away servers of its own, on free ports and in a scratch folder, and ends them. Needs what postgres.sh and mariadb.sh need;
run by the Python of app-venv, for the site's settings.
"""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

TASKS = Path(__file__).resolve().parents[1]
BACKEND = TASKS.parent / "examples" / "callcentersite" / "backend"
PASSWORDS = {"POSTGRES_PASSWORD": "admin-of-pg", "MARIADB_ROOT_PASSWORD": "admin-of-my", "DB_PASSWORD": "let-me-in-9f1c"}
BASE = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
ENV = {**BASE, **PASSWORDS, "DB_USER": "tester", "PYTHONDONTWRITEBYTECODE": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def call(*command, env=ENV, cwd=None):
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def mentions(text):
    """The processes whose command line names this text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return [pid for pid in found if pid != os.getpid()]


class Server:
    """One server of one of the scripts."""

    def __init__(self, kind, folder, port=None):
        self.script, self.folder, self.port = TASKS / "services" / f"{kind}.sh", Path(folder) / kind, port or free_port()
        self.folder.mkdir()
        self.log = open(self.folder.with_suffix(".log"), "w+", encoding="utf-8")
        env = {**ENV, "TMPDIR": os.path.join(folder, "tmp")}
        self.process = subprocess.Popen([self.script, self.folder, self.port], env=env, stdout=self.log, stderr=self.log)

    def ready(self):
        deadline = time.monotonic() + 90
        while call(self.script, "--ready", self.port)[0] != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.folder.with_suffix(".log").read_text())
            time.sleep(0.1)
        return self

    def pause(self, sign):
        for pid in mentions(str(self.folder)):
            os.kill(pid, sign)

    def end(self):
        self.pause(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT if self.script.stem == "postgres" else signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.log.close()


class Site(http.server.BaseHTTPRequestHandler):
    """What the site might say, by address."""

    says = {}

    def do_GET(self):
        status, text = self.says.get(self.path, (404, ""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


class BadDays(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="iact-services-")
        shared = Path(cls.scratch, "tmp")
        shared.mkdir()
        shared.chmod(0o777)  # nosec B103: for all users, as /tmp is
        cls.of_others = shared / "#sql-temptable-1-2-3.MAI"
        cls.of_others.touch()
        cls.servers = {}
        try:
            cls.servers = {kind: Server(kind, cls.scratch) for kind in ("postgres", "mariadb")}
            for server in cls.servers.values():
                server.ready()
        except BaseException:
            cls.tearDownClass()
            raise
        cls.env = {**ENV, "ANALYTICS_DB_PORT": cls.servers["postgres"].port, "IVR_DB_PORT": cls.servers["mariadb"].port}

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers.values():
            server.end()
        left = mentions(cls.scratch)
        shutil.rmtree(cls.scratch)
        assert not left, f"left running: {left}"

    def expect(self, found, code, *texts):
        self.assertEqual(found[0], code, found[1])
        for text in texts:
            self.assertIn(text, found[1])
        for secret in PASSWORDS.values():
            self.assertNotIn(secret, found[1])

    def services(self, **more):
        return call(sys.executable, TASKS / "health" / "services.py", env={**self.env, **more})

    def test_both_answer(self):
        self.expect(self.services(), 0, "ok    iact_analytics", "ok    ivr_legacy")

    def test_temporary_tables_of_other_servers_stay(self):
        self.assertTrue(self.of_others.exists(), "MariaDB empties its tmpdir when it starts: it has to have one of its own")

    def test_a_folder_that_only_root_may_pass_through_is_no_trouble(self):
        self.assertEqual(os.stat(self.scratch).st_mode & 0o777, 0o700)
        said = self.servers["mariadb"].folder.with_suffix(".log").read_text()
        self.assertNotIn("moved table", said)

    def test_a_taken_port_is_told_and_nothing_is_made(self):
        for kind, server in self.servers.items():
            with self.subTest(kind), tempfile.TemporaryDirectory(prefix="iact-taken-") as folder:
                found = call(TASKS / "services" / f"{kind}.sh", folder, server.port)
                self.expect(found, 1, f"port {server.port} of 127.0.0.1 is taken: end what listens there")
                self.assertEqual((os.listdir(folder), mentions(folder)), ([], []))
        self.expect(self.services(), 0)

    def test_a_wrong_password_is_told_with_what_to_check(self):
        found = self.services(DB_PASSWORD="not-it-77")
        self.expect(found, 1, "fail  iact_analytics", "fail  ivr_legacy", "check DB_USER and DB_PASSWORD")
        self.assertNotIn("not-it-77", found[1])

    def test_a_database_that_stops_answering_is_found_in_time_and_again_when_it_goes_on(self):
        for kind, name in (("postgres", "iact_analytics"), ("mariadb", "ivr_legacy")):
            with self.subTest(kind):
                started = time.monotonic()
                self.servers[kind].pause(signal.SIGSTOP)
                try:
                    self.expect(self.services(), 1, f"fail  {name}", "is it stopped")
                finally:
                    self.servers[kind].pause(signal.SIGCONT)
                self.assertLess(time.monotonic() - started, 30)
                self.expect(self.services(), 0)

    def test_nobody_listening_is_told_with_the_remedy(self):
        self.expect(self.services(IVR_DB_PORT=free_port()), 1, "ok    iact_analytics", "is it started? `iact up")

    def test_a_missing_client_is_2_and_names_the_package(self):
        with tempfile.TemporaryDirectory() as empty:
            self.expect(self.services(PATH=empty), 2, "apt-get install postgresql-client", "apt-get install mariadb-client")

    def test_a_missing_secret_is_told_by_all_who_need_it(self):
        env = {name: value for name, value in self.env.items() if name != "DB_PASSWORD"}
        for script in ("services.py", "stack.py"):
            self.expect(call(sys.executable, TASKS / "health" / script, env=env), 2, "`DB_PASSWORD` is not set: put it")
        self.expect(call(sys.executable, "manage.py", "check", env=env, cwd=BACKEND), 1, "DB_PASSWORD is not set: put it")
        self.expect(call(TASKS / "services" / "postgres.sh", self.scratch, "1", env=env), 1, "DB_PASSWORD")

    def test_a_server_that_is_asked_to_end_leaves_nothing_running(self):
        for kind in ("postgres", "mariadb"):
            with self.subTest(kind), tempfile.TemporaryDirectory(prefix="iact-ends-") as folder:
                os.chmod(folder, 0o755)  # nosec B103: another user passes through
                server = Server(kind, folder).ready()
                server.end()
                self.assertEqual(mentions(folder), [])

    def test_the_stack_is_judged_by_what_fails_not_by_warnings(self):
        healthy = {"name": "iact_analytics", "ok": True, "ms": 1}
        sick = {"name": "ivr_legacy", "ok": False, "ms": 1, "error": "OperationalError"}
        fine = {
            "/healthz": (200, '{"ok": true, "release": "7"}'),
            "/api/health": (200, json.dumps({"ok": True, "databases": [healthy, {**healthy, "name": "ivr_legacy"}]})),
        }
        cases = [
            ("all is well", {}, {}, 0, ["ok      services   3/3", "ok      site       release 7", "skip    model", "info    memory"]),
            ("errors in the log warn", {}, {"APP_LOG": "bad.log"}, 0, ["warn    log        1 of the last 2 lines: ERROR"]),
            ("no model warns", {}, {"OLLAMA_HOST": "127.0.0.1:1"}, 0, ["warn    model"]),
            ("not ok", {"/healthz": (200, '{"ok": false}')}, {}, 1, ["fail    site", '{"ok": false}']),
            ("no JSON", {"/healthz": (200, "<html>")}, {}, 1, ["fail    site", "not with JSON"]),
            ("cut off", {"/api/health": (503, json.dumps({"ok": False, "databases": [healthy, sick]}))}, {}, 1,
             ["ok      databases", "fail    network", "does not reach ivr_legacy (OperationalError)"]),
            ("wrong password", {}, {"DB_PASSWORD": "no"}, 1, ["fail    databases", "check DB_USER", "ok      network"]),
        ]  # fmt: skip
        log = Path(self.scratch, "bad.log")
        log.write_text("INFO started\nERROR something broke\n", encoding="utf-8")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for what, says, env, code, texts in cases:
                with self.subTest(what):
                    Site.says = {**fine, **says}
                    if "APP_LOG" in env:
                        env = {"APP_LOG": str(log)}
                    env = {**self.env, "APP_PORT": str(server.server_port), **env}
                    self.expect(call(sys.executable, TASKS / "health" / "stack.py", env=env), code, *texts)
            server.shutdown()
        gone = {**self.env, "APP_PORT": free_port()}
        self.expect(call(sys.executable, TASKS / "health" / "stack.py", env=gone), 1, "2/3 running", "`iact up app`")

    def test_the_application_is_looked_at_from_inside(self):
        health = (sys.executable, "-B", TASKS / "health" / "application.py", BACKEND)
        env = self.env
        # Nothing was migrated yet.
        unready = ("ok      databases", "fail    migrations", "analytics.0001_initial", "fail    rows")
        self.expect(call(*health, env=env), 1, *unready)
        self.expect(call(sys.executable, "manage.py", "migrate", "--no-input", env=env, cwd=BACKEND), 0)
        self.expect(call(*health, env=env), 0, "ok      migrations", "ok      rows       0 sessions kept")
        many = "INSERT INTO django_session SELECT 'k' || n, '', now() FROM generate_series({}, {}) n"
        for first, count, code, state in ((1, 50_001, 0, "warn    rows"), (50_002, 100_001, 1, "fail    rows")):
            at = {**self.env, "PGPASSWORD": PASSWORDS["DB_PASSWORD"]}
            self.expect(call("psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", self.env["ANALYTICS_DB_PORT"],
                             "-U", "tester", "-d", "iact_analytics", "-c", many.format(first, count), env=at), 0)  # fmt: skip
            self.expect(call(*health, env=env), code, state, f"{count} sessions kept", "clearsessions")
        gone = {**env, "IVR_DB_PORT": free_port()}
        self.expect(call(*health, env=gone), 1, "fail    databases  ivr")
        self.expect(call(*health[:-1], self.scratch, env=env), 1, "fail    project    no manage.py")
        self.expect(call(*health[:-1], env=env), 2, "usage")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(verbosity=2)
