#!/usr/bin/env python3
"""Takes a snapshot of a running machine, memory and disk of one moment; the machine goes on afterwards.

    snapshot.py FOLDER OUT

OUT has disk.qcow2 (what was written over the image), state.zst (memory and devices) and snapshot.json:

    {"version": 1, "taken", "image", "shape": {…}, "password_sha256",
     "rows": {database: {table: rows}}, "sha256": {file: digest}}

It appears whole or not at all. No password is in it; `password_sha256` (of a random one, with a salt) tells whether the
saved memory knows the one of the machine it is restored to. Needs qemu-img and zstd.
"""

import datetime
import hashlib
import json
import pathlib
import shlex
import shutil
import signal
import sys
import tempfile
import time

import machine
import qmp
from guest_databases import Databases

LIMIT_S = 240


def digest(path):
    """The file's SHA-256, in bounded memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def proof(password, image):
    """Tells equal passwords from different ones; the image's digest is the salt."""
    return hashlib.sha256(f"{image}:{password}".encode()).hexdigest()


def save_memory(monitor, path):
    """Memory and devices into a file. The machine stands still from its end on."""
    monitor.do("migrate-set-parameters", max_bandwidth=1 << 40)
    monitor.do("migrate", uri=f"exec:exec {shlex.quote(machine.tool('zstd'))} -q -3 >{shlex.quote(str(path))}")
    end = time.monotonic() + LIMIT_S
    while True:
        found = monitor.do("query-migrate")
        status = found.get("status")
        if status == "completed":
            break
        if status in ("failed", "cancelled"):
            raise machine.Problem(f"the memory could not be saved ({found.get('error-desc', status)}): a full disk? `df -h`")
        if time.monotonic() > end:
            monitor.do("migrate_cancel")
            raise machine.Problem(f"the memory was not saved within {LIMIT_S} s")
        time.sleep(0.05)
    machine.run([machine.tool("zstd"), "-qt", str(path)])


def save_disk(folder, path):
    """What the machine has written over its image."""
    command = [machine.tool("qemu-img"), "convert", "-U", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]
    base = folder / "base" / "disk.qcow2"
    machine.run([*command, "-B", str(base), "-F", "qcow2", str(folder / "disk.qcow2"), str(path)])
    machine.run([machine.tool("qemu-img"), "check", "-q", str(path)])
    # The place of the image is this machine's affair.
    machine.run([machine.tool("qemu-img"), "rebase", "-u", "-b", "base/disk.qcow2", "-F", "qcow2", str(path)])


def take(folder, new):
    told, databases = machine.facts(folder), Databases(folder)
    with qmp.Monitor(folder / "qmp.sock") as monitor:
        why = databases.silence()
        if why:
            raise machine.Problem(f"a machine whose databases do not answer is not worth a snapshot ({why})")
        rows, begin = databases.contents(), time.monotonic()
        try:
            save_memory(monitor, new / "state.zst")
            save_disk(folder, new / "disk.qcow2")
        finally:
            if monitor.do("query-status")["status"] != "running":
                monitor.do("cont")
        still_s = time.monotonic() - begin
    about = {
        "version": 1,
        "taken": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "image": told["image"],
        "shape": {name: told[name] for name in ("qemu", "board", "accel", "memory_mb")},
        "password_sha256": proof(databases.password, told["image"]),
        "rows": rows,
        "sha256": {name: digest(new / name) for name in ("disk.qcow2", "state.zst")},
    }
    (new / "snapshot.json").write_text(json.dumps(about, indent=1) + "\n")
    return about, still_s


def main():
    if len(sys.argv) != 3:
        raise machine.Problem("usage: snapshot.py FOLDER OUT", 2)
    folder, out = pathlib.Path(sys.argv[1]).absolute(), pathlib.Path(sys.argv[2]).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"{out.name}.new.", dir=out.parent))
    try:
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        about, still_s = take(folder, new)
        machine.replace(out, new, old)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = sum(path.stat().st_size for path in out.iterdir())
    rows = {database: sum(tables.values()) for database, tables in about["rows"].items()}
    print(f"{size / 1e6:.0f} MB in {out}; it took {still_s:.1f} s; rows: {rows}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (machine.Problem, qmp.Gone, RuntimeError) as problem:
        print(f"snapshot.py: {problem}", file=sys.stderr)
        sys.exit(getattr(problem, "code", 1))
    except OSError as error:
        print(f"snapshot.py: {error} (a full disk? `df -h`)", file=sys.stderr)
        sys.exit(1)
