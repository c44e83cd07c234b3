#!/usr/bin/env python3
"""Proves that both databases of a running machine do their work, in their own protocols.

    check.py FOLDER            the whole check, one line for each finding
    check.py --ready FOLDER    only whether both let their user in and answer; says nothing if so

Exit code 1 if something is wrong. Needs Python alone, no client of a database.
"""

import sys

import machine
import protocol
from guest_databases import ANALYTICS, LEGACY, Databases

PRODUCTS = {ANALYTICS: "PostgreSQL 15.", LEGACY: "MariaDB"}


def versions(databases):
    """What each one is."""
    for database, product in PRODUCTS.items():
        said = databases.ask(database, "SELECT version()")[0][0]
        if product not in said:
            raise machine.Problem(f"{database}: expected {product}, and it is {said}")
        yield f"{database}: {said.split(' (')[0]}, port {databases.ports[database]}"


def written(databases):
    """What is written is read back, by another connection."""
    for database in PRODUCTS:
        databases.ask(database, "DROP TABLE IF EXISTS vm_check")
        databases.ask(database, "CREATE TABLE vm_check (id int PRIMARY KEY, text varchar(40) NOT NULL)")
        databases.ask(database, "INSERT INTO vm_check VALUES (1, 'año'), (2, 'two')")
        rows = databases.ask(database, "SELECT text FROM vm_check ORDER BY id")
        databases.ask(database, "DROP TABLE vm_check")
        if rows != [["año"], ["two"]]:
            raise machine.Problem(f"{database}: two rows were written, and {rows} read")
        yield f"{database}: writes and reads"


def refused(databases):
    """A wrong password lets nobody in."""
    for database in PRODUCTS:
        try:
            databases.ask(database, "SELECT 1", password=databases.password[::-1])
        except protocol.Refused:
            yield f"{database}: refuses a wrong password"
        else:
            raise machine.Problem(f"{database}: lets in with a wrong password")


def main():
    words = sys.argv[1:]
    ready = words[:1] == ["--ready"]
    if len(words) != 1 + ready:
        raise machine.Problem("usage: check.py [--ready] FOLDER", 2)
    databases = Databases(words[-1])
    why = databases.silence()
    if why:
        raise machine.Problem(f"{why}; does the machine run? `iact ps`, `iact logs vm`")
    if ready:
        return
    for prove in (versions, written, refused):
        for line in prove(databases):
            print(line)


if __name__ == "__main__":
    try:
        main()
    except (machine.Problem, protocol.Refused, protocol.Silent) as problem:
        print(f"check.py: {problem}", file=sys.stderr)
        sys.exit(getattr(problem, "code", 1))
