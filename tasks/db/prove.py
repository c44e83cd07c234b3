#!/usr/bin/env python3
"""Proves that a dump can be restored: into a scratch database, which is then compared with the dump's manifest.

    prove.py HOST:PORT DUMP MANIFEST [--identity FILE]

HOST:PORT    a server of the dump's kind on which DB_USER (with DB_PASSWORD) may make databases named test_…; the
             scratch database is removed again, whatever happens
--identity   the key of an encrypted dump

Compared are the digest of the text, rows and digest of every table, and a dump of the copy, which has to be the same text.
"""

import argparse
import contextlib
import json
import os
import secrets
import sys

import stream
from archive import Trouble, chunks
from dump import dump_text, run
from server import server


def read_manifest(path):
    try:
        with open(path) as file:
            manifest = json.load(file)
        if manifest["format"] != 1:
            raise Trouble(f"`{path}` has format {manifest['format']}, known is 1")
        for key in ("kind", "database", "nature", "tables"):
            manifest[key]
        manifest["text"]["sha256"]
    except OSError as error:
        raise Trouble(f"cannot read `{path}`: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Trouble(f"`{path}` is no manifest of a dump") from None
    return manifest


def differences(expected, found):
    """Tables that are not what they should be, for a person."""
    for table in sorted({*expected, *found}):
        one, other = expected.get(table), found.get(table)
        if one == other:
            continue
        if one is None or other is None:
            yield f"{table} is {'missing' if other is None else 'too many'}"
        elif one["rows"] != other["rows"]:
            yield f"{table} has {other['rows']} rows instead of {one['rows']}"
        else:
            yield f"{table} has other rows"


def compare(target, database, manifest):
    """Trouble if a database does not hold what the manifest says."""
    wrong = list(differences(manifest["tables"], target.facts(database)))
    if wrong:
        raise Trouble(f"the restored copy differs: {'; '.join(wrong[:5])}")


def fill(target, database, path, manifest, identity):
    """Fills an empty database from a dump, which has to be whole and the manifest's."""
    text = stream.Whole(chunks(path, identity), target.TRAILER)
    try:
        target.load(database, text)
    except Trouble:
        # What is wrong with the dump is more to the point than what the server made of it.
        if text.trouble is None:
            for _ in text:
                pass
            text.check(f"`{path}`")
        raise
    text.check(f"`{path}`")
    if text.digest.hexdigest() != manifest["text"]["sha256"]:
        raise Trouble(f"`{path}` is not the dump its manifest was made for")


@contextlib.contextmanager
def scratch(target, path, manifest, identity, name):
    """A database made from the dump and compared; removed at the end if it still has that name."""
    target.create(name, manifest["nature"])
    try:
        fill(target, name, path, manifest, identity)
        compare(target, name, manifest)
        again = dump_text(target, name)
        for _ in again:
            pass
        again.check("a dump of the restored copy")
        if again.digest.hexdigest() != manifest["text"]["sha256"]:
            raise Trouble("a dump of the restored copy is another text than the dump")
        yield
    finally:
        try:
            target.drop(name)
        except Trouble as trouble:
            print(f"warning: the scratch database `{name}` may be left: {trouble}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    for name in ("address", "dump", "manifest"):
        parser.add_argument(name)
    parser.add_argument("--identity", default="")
    asked = parser.parse_args()
    manifest = read_manifest(asked.manifest)
    target = server(manifest["kind"], asked.address)
    name = f"test_proof_{os.getpid()}_{secrets.token_hex(4)}"
    with scratch(target, asked.dump, manifest, asked.identity, name):
        rows = sum(table["rows"] for table in manifest["tables"].values())
        print(f"{manifest['database']}: restored and compared, {len(manifest['tables'])} tables, {rows} rows")


if __name__ == "__main__":
    run(main)
