#!/usr/bin/env python3
"""Puts a snapshot back as a machine, which then goes on where the snapshot was taken.

    restore.py SNAPSHOT FOLDER IMAGE

SNAPSHOT  what snapshot.py made
FOLDER    the machine's; it must not run. What it has on its disk is lost
IMAGE     the image the snapshot was taken over, unless FOLDER still has it

First the snapshot is tried: a machine of its own goes on from a copy, both databases have to answer and to hold the rows
that the snapshot counted. Only then FOLDER is replaced, by a rename; on any failure it is as it was. Needs what boot.py
needs, and zstd.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import machine
import qmp
from guest_databases import Databases
from snapshot import digest, proof
from trial import Trial

FILES = ("disk.qcow2", "state.zst")


def read(snapshot):
    """What the snapshot says of itself, if each byte of it is as it was taken."""
    try:
        about = json.loads((snapshot / "snapshot.json").read_text())
        wanted = about["sha256"]
        for name in FILES:
            if digest(snapshot / name) != wanted[name]:
                raise machine.Problem(
                    f"{snapshot / name} is damaged; an earlier one is restored by `iact artifact restore vm-snapshot@2`"
                )
    except FileNotFoundError as error:
        raise machine.Problem(
            f"no whole snapshot in {snapshot} ({pathlib.Path(error.filename).name} is missing); `iact vm-snapshot` takes one, "
            "`iact artifact list vm-snapshot` shows what is kept"
        ) from None
    except (ValueError, KeyError) as error:
        raise machine.Problem(f"{snapshot}/snapshot.json is damaged ({error})") from None
    return about


def base_for(about, folder, given):
    """The image with which the snapshot belongs together."""
    for base in (folder / "base", given):
        try:
            found, found_digest = machine.image(base)
        except machine.Problem:
            continue
        if found_digest == about["image"]:
            return found
    raise machine.Problem(
        f"the snapshot was taken over image {about['image'][:12]}, which neither {folder} nor {given} has; "
        "`iact artifact list vm-image` shows those that are kept"
    )


def stage(snapshot, about, base, folder, new):
    """The machine as it will be."""
    new.mkdir()
    machine.copy_image(base, new / "base")
    shutil.copyfile(snapshot / "disk.qcow2", new / "disk.qcow2")
    (new / "machine.json").write_text(
        json.dumps({"version": 1, "image": about["image"], "postgres_port": 0, "mariadb_port": 0})
    )
    if (folder / "password").exists():
        shutil.copy(folder / "password", new / "password")
    if proof(machine.password(new), about["image"]) == about["password_sha256"]:
        shutil.copyfile(snapshot / "state.zst", new / "state.zst")
        (new / "state.json").write_text(json.dumps(about["shape"]))
    else:
        print("another password than at the snapshot: the machine will start from the disk alone")


def try_out(about, new, place):
    """A machine of its own goes on from a copy, and holds what the snapshot counted."""
    shutil.copytree(new, place, copy_function=link)
    (place / "disk.qcow2").unlink()
    machine.overlay(place / "disk.qcow2", new / "disk.qcow2")
    with Trial(place / "base", place, memory_mb=about["shape"]["memory_mb"], accel=about["shape"]["accel"]) as trial:
        trial.wait()
        rows = Databases(place).contents()
    if rows != about["rows"]:
        raise machine.Problem(f"the restored machine has other rows than the snapshot: {rows} instead of {about['rows']}")
    shutil.rmtree(place)


def link(source, target):
    """Two names instead of a copy; nothing writes to these files."""
    os.link(source, target)


def main():
    if len(sys.argv) != 4:
        raise machine.Problem("usage: restore.py SNAPSHOT FOLDER IMAGE", 2)
    snapshot, folder, given = (pathlib.Path(word).absolute() for word in sys.argv[1:])
    try:
        qmp.Monitor(folder / "qmp.sock", 5).__exit__()
        raise machine.Problem(f"the machine in {folder} runs; end it first: `iact down`")
    except qmp.Gone:
        pass
    os.umask(0o077)
    about = read(snapshot)
    base = base_for(about, folder, given)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"{folder.name}.new.", dir=folder.parent))
    try:
        stage(snapshot, about, base, folder, scratch / "new")
        try_out(about, scratch / "new", scratch / "trial")
        machine.replace(folder, scratch / "new", scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows = {database: sum(tables.values()) for database, tables in about["rows"].items()}
    print(f"{folder}: as of {about['taken']}; rows: {rows}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except machine.Problem as problem:
        print(f"restore.py: {problem}", file=sys.stderr)
        sys.exit(problem.code)
    except OSError as error:
        print(f"restore.py: {error} (a full disk? `df -h`)", file=sys.stderr)
        sys.exit(1)
