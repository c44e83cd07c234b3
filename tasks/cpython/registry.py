#!/usr/bin/env python3
"""A table of the CPythons in a registry, each compared with its checksum.

    registry.py FOLDER

A registry is a folder with one folder per release, `cpython-X.Y.Z-DISTRO-buildN`, that is never written again:
the archive, its `.sha256`, and `record.json` (schema 1), which is made from the cache's record of the build:

    schema name version build distro file bytes sha256   what it is
    target fingerprint built_unix_ms took_ms             what the cache knows of how it was made
    published_unix_ms                                    when it was published

`index.json` (all records) and `ARTIFACTS.md` (for people) beside them are derived, and written anew by each
publication. A release is `active`, after half a year `deprecated` (a security fix may be missing), after a year
`archived`. Exit code 1 if a release is damaged.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

DAY_MS = 86_400_000
COLUMNS = ["VERSION", "BUILD", "DISTRO", "SIZE", "SHA-256", "PUBLISHED", "STATE"]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def releases(registry):
    """Folders of releases; what is being published or hidden is none."""
    if not registry.is_dir():
        return []
    return sorted(folder for folder in registry.iterdir() if folder.name.startswith("cpython-") and folder.is_dir())


def record_of(release):
    """The record of a release; a text that says what is wrong with it."""
    try:
        record = json.loads((release / "record.json").read_text())
        if record["schema"] != 1 or record["name"] != release.name:
            return f"record.json of {release.name} is another's"
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"record.json of {release.name} cannot be read: {error!r}"


def damage(release, record):
    """What is wrong with a release, or nothing."""
    try:
        actual = sha256(release / record["file"])
        said = (release / f"{record['file']}.sha256").read_text()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if actual != record["sha256"]:
        return f"expected {record['sha256']}, got {actual}"
    return None if said == f"{actual}  {record['file']}\n" else "its .sha256 says something else"


def state(record, now_ms):
    days = (now_ms - record["published_unix_ms"]) // DAY_MS
    return "active" if days <= 182 else "deprecated" if days <= 365 else "archived"


def row(record, now_ms):
    date = time.strftime("%Y-%m-%d", time.gmtime(record["published_unix_ms"] / 1000))
    size = f"{record['bytes'] / 1e6:.1f} MB"
    return [record["version"], record["build"], record["distro"], size, record["sha256"][:12], date, state(record, now_ms)]


def replace(path, text):
    """Writes a file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def write_index(registry, now_ms):
    """The derived files, from the records of all releases that can be read."""
    records = [record for record in map(record_of, releases(registry)) if isinstance(record, dict)]
    replace(registry / "index.json", json.dumps(records, indent=2) + "\n")
    lines = ["# Artifacts", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(row(record, now_ms)) + " |" for record in records]
    replace(registry / "ARTIFACTS.md", "\n".join(lines) + "\n")


def main(arguments):
    if len(arguments) != 1:
        print("usage: registry.py FOLDER", file=sys.stderr)
        return 2
    registry, now_ms = Path(arguments[0]), time.time_ns() // 1_000_000
    rows, code = [], 0
    for release in releases(registry):
        record = record_of(release)
        wrong = record if isinstance(record, str) else damage(release, record)
        if wrong:
            print(f"registry.py: {release.name} is damaged: {wrong}", file=sys.stderr)
            code = 1
        if isinstance(record, dict):
            rows.append(row(record, now_ms)[:-1] + ["damaged" if wrong else state(record, now_ms)])
    if not rows and code == 0:
        print(f"nothing is published in {registry}")
        return 0
    for cells in [COLUMNS, *rows]:
        print("{:<10} {:<6} {:<14} {:>9}  {:<12}  {:<10}  {}".format(*cells))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
