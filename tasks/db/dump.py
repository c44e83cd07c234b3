#!/usr/bin/env python3
"""Dumps a database: the same data give the same bytes, and nothing replaces a good dump but a whole one.

    dump.py KIND HOST:PORT DATABASE OUT MANIFEST [--sample FILE] [--recipient AGE] [--even-empty]

KIND        postgres or mariadb; DB_USER and DB_PASSWORD of the environment say who asks
OUT         …sql.gz; …sql.gz.age with --recipient, which only its key can read
MANIFEST    what a restored copy is compared with: rows and digest of every table, digest of the plain text
--sample    a database without tables is filled from this file first
--even-empty  a database without tables is dumped, too; otherwise it is taken for the wrong one

PostgreSQL: dump and manifest see one snapshot. MariaDB: taken again, three times at most, if a table changed meanwhile.
Needs the clients of the server, gzip, and age for --recipient. Nobody but the owner may read the files.
"""

import argparse
import contextlib
import json
import os
import signal
import sys

import stream
from archive import Trouble, writer
from server import Client, checked_name, server

ATTEMPTS = 3


def write_manifest(path, manifest):
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(manifest, file, indent=1, sort_keys=True)
            file.write("\n")
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Trouble(f"cannot write `{path}`: {error.strerror}") from None


def dump_text(source, database, snapshot=None):
    """The dump as a `stream.Whole`, to be read to its end and then checked."""

    def lines():
        with Client(source.dumper(database, snapshot), source.env) as client:
            yield from client.lines()

    return stream.Whole(stream.normal(lines()), source.TRAILER)


def _write(source, database, out, recipient, snapshot=None):
    with writer(out, recipient) as write:
        text = dump_text(source, database, snapshot)
        for piece in text:
            write(piece)
        text.check("the dump")
    return {"sha256": text.digest.hexdigest(), "bytes": text.bytes}


def dump(source, database, out, recipient=""):
    """Writes the dump; its manifest comes back."""
    if source.KIND == "postgres":
        with source.photograph(database) as photograph:
            text = _write(source, database, out, recipient, photograph.snapshot)
            tables = photograph.facts()
    else:
        for attempt in range(1, ATTEMPTS + 1):
            before = source.facts(database)
            text = _write(source, database, out, recipient)
            tables = source.facts(database)
            if tables == before:
                break
            changed = sorted(name for name in {*before, *tables} if before.get(name) != tables.get(name))
            if attempt == ATTEMPTS:
                os.unlink(out)
                raise Trouble(
                    f"`{database}` changed during each of {ATTEMPTS} dumps ({', '.join(changed)}); try when it is quiet"
                )
    manifest = {"format": 1, "kind": source.KIND, "database": database, "server": source.version()}
    return {**manifest, "nature": source.nature(database), "text": text, "tables": tables}


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    for name in ("kind", "address", "database", "out", "manifest"):
        parser.add_argument(name)
    parser.add_argument("--sample", default="")
    parser.add_argument("--recipient", default="")
    parser.add_argument("--even-empty", action="store_true")
    asked = parser.parse_args()
    os.umask(0o077)
    source, database = server(asked.kind, asked.address), checked_name(asked.database)
    if not source.exists(database):
        raise Trouble(f"`{asked.address}` has no database `{database}`")
    if not source.facts(database):
        if asked.sample:
            with open(asked.sample, "rb") as sample:
                source.load(database, [sample.read()])
        elif not asked.even_empty:
            raise Trouble(f"`{database}` at {asked.address} has no tables: is it the right database, and migrated?")
    manifest = dump(source, database, asked.out, asked.recipient)
    write_manifest(asked.manifest, manifest)
    rows = sum(table["rows"] for table in manifest["tables"].values())
    size = os.path.getsize(asked.out)
    print(f"{database}: {len(manifest['tables'])} tables, {rows} rows, {manifest['text']['bytes']} bytes, {size} packed")


def run(work):
    """Runs a script of this folder: trouble is one line on standard error, a signal an orderly end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        work()
    except Trouble as trouble:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {trouble}")


if __name__ == "__main__":
    run(main)
