"""One database of the site, reached by its own client programs: asked, dumped, emptied, filled again.

What it is comes from the same variables as the site's settings (ANALYTICS_DB_ENGINE, _HOST, _PORT, _NAME, DB_USER, DB_PASSWORD).
The password goes to the clients by their environment, never by a command line. Needs psql and pg_dump, or mariadb and mariadb-dump.
"""

import gzip
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

EMPTY_POSTGRESQL = """
DO $$ DECLARE it record; BEGIN
  FOR it IN SELECT c.oid::regclass AS name, c.relkind AS kind FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm') LOOP
    EXECUTE format('DROP %s IF EXISTS %s CASCADE', CASE it.kind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, it.name);
  END LOOP;
  FOR it IN SELECT c.oid::regclass AS name FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') LOOP
    EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', it.name);
  END LOOP;
  FOR it IN SELECT c.oid::regclass AS name FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S' LOOP
    EXECUTE format('DROP SEQUENCE IF EXISTS %s CASCADE', it.name);
  END LOOP;
END $$;
"""
TRAILER = {"postgresql": b"-- PostgreSQL database dump complete", "mariadb": b"-- Dump completed"}


class Failure(RuntimeError):
    """What went wrong, and what helps; never with a password in it."""


class Database:
    """The site's own database, `iact_analytics` unless the environment says otherwise."""

    def __init__(self, env: Mapping[str, str] = os.environ):
        self.engine = env.get("ANALYTICS_DB_ENGINE") or "postgresql"
        if self.engine not in TRAILER:
            raise Failure(f"ANALYTICS_DB_ENGINE is `{self.engine}`: `postgresql` or `mariadb` is wanted")
        self.host = env.get("ANALYTICS_DB_HOST") or "127.0.0.1"
        self.port = env.get("ANALYTICS_DB_PORT") or ("5432" if self.engine == "postgresql" else "3306")
        self.name = env.get("ANALYTICS_DB_NAME") or "iact_analytics"
        self.user = env.get("DB_USER") or "django_user"
        if not env.get("DB_PASSWORD"):
            raise Failure("`DB_PASSWORD` is not set: put it into the environment or into `.env`")
        self.env = {**env, "PGPASSWORD": env["DB_PASSWORD"], "PGCONNECT_TIMEOUT": "5", "MYSQL_PWD": env["DB_PASSWORD"]}

    def __str__(self) -> str:
        return f"{self.name} ({self.engine} on {self.host}:{self.port})"

    def run(self, sql: str, database: str | None = None) -> list[list[str]]:
        """The rows a script gives; the script ends at its first mistake, on PostgreSQL without a trace."""
        said = self._call(self._client(database or self.name), sql.encode())
        return [line.split("\t") for line in said.decode().splitlines()]

    def tables(self) -> dict[str, int]:
        """The rows of every table."""
        schema = "'public'" if self.engine == "postgresql" else "DATABASE()"
        names = self.run(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema} AND table_type = 'BASE TABLE' ORDER BY 1;"
        )
        quote = '"' if self.engine == "postgresql" else "`"
        return {name: int(self.run(f"SELECT count(*) FROM {quote}{name}{quote};")[0][0]) for (name,) in names}

    def damage(self) -> list[str]:
        """What the server itself finds wrong."""
        if self.engine == "postgresql":
            return [
                f"constraint {name} is not valid"
                for (name,) in self.run("SELECT conname FROM pg_constraint WHERE NOT convalidated;")
            ]
        if not (tables := self.tables()):
            return []
        checked = self.run(f"CHECK TABLE {', '.join(f'`{name}`' for name in tables)} EXTENDED;")
        return [f"{row[0]}: {row[-1]}" for row in checked if row[-1] != "OK"]

    def dump(self, path: Path) -> None:
        """All of it, into a file that is the owner's alone, whole or not there at all."""
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file, gzip.GzipFile("", "wb", 6, file, 0) as packed:
                command = subprocess.Popen(self._dumper(), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for block in iter(lambda: command.stdout.read(1 << 16), b""):
                    packed.write(block)
                trouble = command.stderr.read().decode()
                if command.wait() != 0:
                    raise Failure(f"{self} cannot be dumped: {trouble.strip()}")
            digest_of(Path(scratch), self.engine)
            os.replace(scratch, path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise

    def schema(self) -> str:
        """The definitions of all tables, without what counts rows and without pg_dump's random key."""
        nothing_else = "--schema-only" if self.engine == "postgresql" else "--no-data"
        said = self._call([*self._dumper()[:-1], nothing_else, self.name], b"").decode()
        kept = (line for line in said.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
        return re.sub(r" AUTO_INCREMENT=\d+", "", "\n".join(kept))

    def fill(self, path: Path) -> None:
        """Empties the database and fills it from a dump; PostgreSQL does both or neither."""
        digest_of(path, self.engine)
        client = self._client(self.name)
        if self.engine == "postgresql":
            client.append("--single-transaction")
            start = EMPTY_POSTGRESQL
        else:
            names = self.run("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = DATABASE();")
            drops = (f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} IF EXISTS `{name}`;\n" for name, kind in names)
            start = "SET FOREIGN_KEY_CHECKS = 0;\n" + "".join(drops)
        with tempfile.TemporaryFile() as script, gzip.open(path) as packed:
            script.write(start.encode())
            for block in iter(lambda: packed.read(1 << 16), b""):
                script.write(block)
            script.seek(0)
            done = subprocess.run(client, env=self.env, stdin=script, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{self} cannot be filled from {path}: {done.stderr.decode().strip()}")

    def _call(self, command: list[str], text: bytes) -> bytes:
        try:
            done = subprocess.run(command, env=self.env, input=text, capture_output=True, check=False, timeout=600)
        except FileNotFoundError:
            package = "postgresql-client" if self.engine == "postgresql" else "mariadb-client"
            raise Failure(f"`{command[0]}` is not here: apt-get install {package}") from None
        if done.returncode != 0:
            raise Failure(f"{self}: {done.stderr.decode().strip() or f'exit {done.returncode}'}")
        return done.stdout

    def _client(self, database: str) -> list[str]:
        if self.engine == "postgresql":
            return [
                "psql",
                "-XAtqw",
                "-F\t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                self.host,
                "-p",
                self.port,
                "-U",
                self.user,
                "-d",
                database,
            ]
        return ["mariadb", "--no-defaults", "-BN", "--connect-timeout=5", *self._mariadb(), database]

    def _dumper(self) -> list[str]:
        if self.engine == "postgresql":
            return [
                "pg_dump",
                "-w",
                "--no-owner",
                "--no-privileges",
                "-h",
                self.host,
                "-p",
                self.port,
                "-U",
                self.user,
                self.name,
            ]
        return ["mariadb-dump", "--no-defaults", "--single-transaction", "--routines", "--triggers", "--skip-dump-date",
                "--order-by-primary", *self._mariadb(), self.name]  # fmt: skip

    def _mariadb(self) -> list[str]:
        return ["-h", self.host, "-P", self.port, "-u", self.user]


def digest_of(path: Path, engine: str) -> str:
    """The digest of a dump that is whole: of its lines in sorted order, since rows come in any. Not of the random key pg_dump
    puts around it."""
    lines, last = [], b""
    try:
        with gzip.open(path) as packed:
            for line in packed:
                if line.strip() and not line.startswith((b"\\restrict", b"\\unrestrict")):
                    lines.append(hashlib.sha256(line).digest())
                    last = line if line.startswith(TRAILER[engine]) else last
    except (OSError, EOFError) as damaged:
        raise Failure(f"{path} is no whole dump: {damaged}") from None
    if not last:
        raise Failure(f"{path} is no whole dump: its last line is missing")
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()
