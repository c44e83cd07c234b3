"""A database server: what differs between PostgreSQL and MariaDB, behind one shape.

Names of databases stand in statements as they are: `checked_name()` lets no other through. Those of tables come from the
server, quoted. The password is in the environment of the clients only, never on a command line. Every question has a limit of
time; a server that stops answering is told from one that refuses.
"""

import os
import re
import select
import subprocess
import tempfile
import time

from archive import Trouble, need

STALL_S = float(os.environ.get("DB_STALL_S", "120"))


REMEDIES = {
    r"Access denied|authentication failed|no password supplied": "are DB_USER and DB_PASSWORD right?",
    r"Connection refused|Can't connect|could not translate|Unknown.*host": "does a server run there?",
    r"Lost connection|closed the connection|gone away|starting up|shutting down": "the server went away; is it running?",
    r"version mismatch": "install clients at least as new as the server",
    r"permission denied|insufficient privileges|command denied": "the user has to own the database and what is in it",
}


class Client:
    """A client program whose output is read to its end; Trouble if it fails or falls silent."""

    def __init__(self, argv, env, stdin=subprocess.DEVNULL):
        self.name = argv[0]
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, env={**os.environ, **env}, stdin=stdin, stdout=subprocess.PIPE, stderr=self.said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe:
                    pipe.close()
            except OSError:
                pass
        self.process.kill()
        self.process.wait()
        self.said.close()

    def complaint(self):
        self.said.seek(0)
        said = self.said.read().decode(errors="replace").strip()
        remedies = [f"; {remedy}" for symptom, remedy in REMEDIES.items() if re.search(symptom, said)]
        lines = " / ".join(line.strip() for line in said.splitlines()[:3])
        return (lines or f"exit {self.process.returncode}") + "".join(remedies[:1])

    def read(self):
        """Some bytes; none at the end."""
        out = self.process.stdout
        if not select.select([out], [], [], STALL_S)[0]:
            raise Trouble(f"`{self.name}`: the server stopped answering, {STALL_S:.0f} s without a byte")
        return os.read(out.fileno(), 1 << 18)

    def lines(self):
        """Whole lines, without their ends."""
        rest = b""
        while data := self.read():
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            yield from lines
        if rest:
            yield rest
        self.finish()

    def feed(self, data):
        """Gives it all of `data`, with the same patience."""
        pipe, view = self.process.stdin.fileno(), memoryview(data)
        os.set_blocking(pipe, False)
        while view:
            if not select.select([], [pipe], [], STALL_S)[1]:
                raise Trouble(f"`{self.name}`: the server stopped answering, {STALL_S:.0f} s without taking a byte")
            try:
                view = view[os.write(pipe, view) :]
            except BrokenPipeError:
                self.process.stdin = None
                self.finish()
                raise Trouble(f"`{self.name}` ended early") from None

    def finish(self):
        """Waits for its end; Trouble if it failed."""
        try:
            if self.process.stdin:
                self.process.stdin.close()
            code = self.process.wait(STALL_S)
        except subprocess.TimeoutExpired:
            raise Trouble(f"`{self.name}`: the server stopped answering, no end in {STALL_S:.0f} s") from None
        if code:
            raise Trouble(f"`{self.name}` failed: {self.complaint()}")


class Server:
    """Where it listens and who asks. Instances are made by `server()`."""

    def __init__(self, host, port, user, password):
        self.host, self.port, self.user = host, port, user
        self.env = {**self.ENV, self.PASSWORD: password}
        need(self.CLIENT, self.PACKAGE)
        need(self.DUMPER, self.PACKAGE)

    def ask(self, sql, database):
        """The rows of an answer, as lists of texts."""
        with Client(self.client(database), self.env, subprocess.PIPE) as client:
            client.feed(sql.encode())
            client.process.stdin.close()
            client.process.stdin = None
            return [line.decode().split("\t") for line in client.lines()]

    def load(self, database, parts):
        """Runs a dump, given in pieces."""
        with Client(self.client(database), self.env, subprocess.PIPE) as client:
            for part in parts:
                client.feed(part)
            client.process.stdin.close()
            client.process.stdin = None
            for _ in client.lines():
                pass


class Postgres(Server):
    KIND, CLIENT, DUMPER, PACKAGE = "postgres", "psql", "pg_dump", "postgresql-client"
    PASSWORD, ENV = "PGPASSWORD", {"PGCONNECT_TIMEOUT": "10", "PGOPTIONS": "-c timezone=UTC", "PGCLIENTENCODING": "UTF8"}
    TRAILER = b"-- PostgreSQL database dump complete"
    HOME = "postgres"

    def place(self, database):
        return ["-h", self.host, "-p", self.port, "-U", self.user, "-w", "-d", database]

    def client(self, database):
        return ["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", *self.place(database)]

    def dumper(self, database, snapshot):
        argv = ["pg_dump", "--no-owner", "--no-privileges", "--lock-wait-timeout=60s", *self.place(database)]
        if b"--restrict-key" in subprocess.run(["pg_dump", "--help"], capture_output=True).stdout:
            argv.append("--restrict-key=iact")
        return argv + ([f"--snapshot={snapshot}"] if snapshot else [])

    def version(self):
        return self.ask("SHOW server_version", self.HOME)[0][0]

    def exists(self, database):
        sql = f"SELECT 1 FROM pg_database WHERE datname = '{database}'"  # nosec B608
        return bool(self.ask(sql, self.HOME))

    def nature(self, database):
        """What a database has to be made with to hold the same."""
        sql = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = "
        return self.ask(f"{sql}'{database}'", self.HOME)[0]

    def create(self, database, nature):
        encoding, collate, ctype = nature
        self.ask(
            f"CREATE DATABASE \"{database}\" TEMPLATE template0 ENCODING '{encoding}' "
            f"LC_COLLATE '{collate}' LC_CTYPE '{ctype}'",
            self.HOME,
        )

    def drop(self, database):
        self.ask(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)', self.HOME)

    def rename(self, database, name):
        """Ends whoever uses it first."""
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # nosec B608
        for attempt in range(20):
            self.ask(end, self.HOME)
            try:
                return self.ask(f'ALTER DATABASE "{database}" RENAME TO "{name}"', self.HOME)
            except Trouble as trouble:
                if "being accessed" not in str(trouble) or attempt == 19:
                    raise
                time.sleep(0.1)

    def photograph(self, database):
        """A snapshot that a dump and the facts can share."""
        return _Photograph(self, database)

    def facts(self, database):
        """Rows and digest of every table, whatever the order of its rows."""
        with _Photograph(self, database) as photograph:
            return photograph.facts()


class _Photograph:
    """A transaction of PostgreSQL that sees one moment."""

    TABLES = (
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1"
    )

    END = "-- end of answer"

    def __init__(self, server, database):
        self.client = Client(server.client(database), server.env, subprocess.PIPE)

    def __enter__(self):
        try:
            self.snapshot = self.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSELECT pg_export_snapshot();")[0]
        except BaseException:
            self.client.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.client.__exit__()

    def rows(self, sql):
        self.client.feed(f"{sql}\n\\echo {self.END}\n".encode())
        text, end = b"", f"{self.END}\n".encode()
        while text != end and not text.endswith(b"\n" + end):
            data = self.client.read()
            if not data:
                self.client.process.stdin.close()
                self.client.process.stdin = None
                self.client.finish()
                raise Trouble(f"`{self.client.name}` ended early")
            text += data
        return text.decode().splitlines()[:-1]

    def facts(self):
        found = {}
        for table in self.rows(f"{self.TABLES};"):
            digest = "coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)"
            sql = f"SELECT count(*), {digest} FROM {table} t;"  # nosec B608
            rows, digest = self.rows(sql)[0].split("\t")
            found[table] = {"rows": int(rows), "digest": digest}
        return found


class MariaDB(Server):
    KIND, CLIENT, DUMPER, PACKAGE = "mariadb", "mariadb", "mariadb-dump", "mariadb-client"
    PASSWORD, ENV = "MYSQL_PWD", {}
    TRAILER = b"-- Dump completed"
    HOME = ""

    def place(self):
        return ["--no-defaults", "-h", self.host, "-P", self.port, "-u", self.user, "--protocol=tcp"]

    def client(self, database):
        argv = ["mariadb", *self.place(), "-BN", "--connect-timeout=10", "--max-allowed-packet=1G"]
        return [*argv, "--default-character-set=utf8mb4", *([database] if database else [])]

    def dumper(self, database, _):
        return [
            "mariadb-dump", *self.place(), "--single-transaction", "--quick", "--routines", "--triggers", "--events",
            "--hex-blob", "--skip-dump-date", "--order-by-primary", "--default-character-set=utf8mb4", database,
        ]  # fmt: skip

    def version(self):
        return self.ask("SELECT version()", self.HOME)[0][0]

    def exists(self, database):
        return bool(self.ask(f"SHOW DATABASES WHERE `Database` = '{database}'", self.HOME))

    def nature(self, database):
        """What a database has to be made with to hold the same."""
        sql = "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata "
        return self.ask(f"{sql} WHERE schema_name = '{database}'", self.HOME)[0]

    def create(self, database, nature):
        charset, collation = nature
        self.ask(f"CREATE DATABASE `{database}` CHARACTER SET {charset} COLLATE {collation}", self.HOME)

    def drop(self, database):
        self.ask(f"DROP DATABASE IF EXISTS `{database}`", self.HOME)

    def facts(self, database):
        """Rows and checksum of every table."""
        tables = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = "
        found = {}
        for (table,) in self.ask(f"{tables}'{database}' ORDER BY 1", self.HOME):
            name = table.replace("`", "``")
            sql = f"SELECT count(*) FROM `{name}`; CHECKSUM TABLE `{name}` EXTENDED"  # nosec B608
            rows = self.ask(sql, database)
            found[table] = {"rows": int(rows[0][0]), "digest": rows[1][1]}
        return found


def server(kind, address):
    """The server of that kind at `HOST:PORT`, for the user of `DB_USER` and `DB_PASSWORD`."""
    kinds = {"postgres": Postgres, "mariadb": MariaDB}
    if kind not in kinds:
        raise Trouble(f"`{kind}` is no kind of server: postgres or mariadb")
    match = re.fullmatch(r"([A-Za-z0-9._-]+):(\d{1,5})", address)
    if not match:
        raise Trouble(f"`{address}` is not HOST:PORT")
    missing = [name for name in ("DB_USER", "DB_PASSWORD") if not os.environ.get(name)]
    if missing:
        raise Trouble(f"{' and '.join(missing)} of the environment: who asks, and with which password")
    return kinds[kind](*match.groups(), os.environ["DB_USER"], os.environ["DB_PASSWORD"])


def checked_name(database):
    """Names go into statements as they are."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", database):
        raise Trouble(f"`{database}` is no name of a database: letters, digits and `_`, at most 63")
    return database
