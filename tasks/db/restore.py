#!/usr/bin/env python3
"""Replaces a database by a dump that has been restored and compared beside it; what was there is dumped first.

    restore.py KIND HOST:PORT DATABASE DUMP MANIFEST BEFORE BEFORE-MANIFEST [--identity FILE] [--recipient AGE]

DATABASE     is made if it is not there
KIND         postgres or mariadb; DUMP has to be one of it
BEFORE       where the dump of what is replaced goes; it undoes this restore
--identity   the key of an encrypted DUMP; --recipient: BEFORE is encrypted

The database's clients are disconnected. PostgreSQL: the compared copy takes the place of the database by renaming.
MariaDB, which cannot rename one, makes it anew; if that fails, BEFORE is loaded. DB_USER and DB_PASSWORD own the database and
may make databases named test_….
"""

import argparse
import os
import sys

from archive import Trouble
from dump import dump, run, write_manifest
from prove import compare, fill, read_manifest, scratch
from server import checked_name, server


def replace_by_renaming(target, database, copy, manifest):
    """Puts the copy in the database's place; puts the database back if that fails."""
    aside = f"test_replaced_{os.getpid()}"
    target.rename(database, aside)
    try:
        target.rename(copy, database)
        compare(target, database, manifest)
    except BaseException:
        target.drop(database)
        target.rename(aside, database)
        raise
    target.drop(aside)


def replace_by_loading(target, database, asked, manifest, before):
    """Makes the database anew from the dump; from the dump of what it held if that fails."""
    try:
        target.drop(database)
        target.create(database, manifest["nature"])
        fill(target, database, asked.dump, manifest, asked.identity)
        compare(target, database, manifest)
    except BaseException as failure:
        # What has just been written for a recipient cannot be read without its key.
        if asked.recipient and not asked.identity:
            raise Trouble(f"{failure}; `{database}` is gone, restore `{asked.before}` with its key") from None
        target.drop(database)
        target.create(database, before["nature"])
        fill(target, database, asked.before, before, asked.identity)
        compare(target, database, before)
        print(f"restore.py: `{database}` has been put back", file=sys.stderr)
        raise


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    for name in ("kind", "address", "database", "dump", "manifest", "before", "before_manifest"):
        parser.add_argument(name)
    parser.add_argument("--identity", default="")
    parser.add_argument("--recipient", default="")
    asked = parser.parse_args()
    os.umask(0o077)
    database, manifest = checked_name(asked.database), read_manifest(asked.manifest)
    if manifest["kind"] != asked.kind:
        raise Trouble(f"`{asked.dump}` is a dump of {manifest['kind']}, not of {asked.kind}")
    target = server(asked.kind, asked.address)
    copy = f"test_restore_{os.getpid()}"
    with scratch(target, asked.dump, manifest, asked.identity, copy):
        if not target.exists(database):
            target.create(database, manifest["nature"])
        before = dump(target, database, asked.before, asked.recipient)
        write_manifest(asked.before_manifest, before)
        if manifest["kind"] == "postgres":
            replace_by_renaming(target, database, copy, manifest)
        else:
            replace_by_loading(target, database, asked, manifest, before)
    rows = sum(table["rows"] for table in manifest["tables"].values())
    print(f"{database} at {asked.address}: {len(manifest['tables'])} tables, {rows} rows; before: {asked.before}")


if __name__ == "__main__":
    run(main)
