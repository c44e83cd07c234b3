#!/usr/bin/env python3
"""Publishes a packed CPython to a registry (see registry.py): whole or not at all, and never over another.

    publish.py ARCHIVE REGISTRY

ARCHIVE   …/cpython-X.Y.Z-DISTRO-buildN.tgz, with ARCHIVE.sha256 beside it; made by a target of this workspace
REGISTRY  a folder; made if it is absent

What is published are the bytes in iact's cache, with the cache's record of the build, and only if ARCHIVE is the
same. The same release again is no mistake; another content under a published name is (raise `build`). Run by iact,
or with `iact` on PATH. One at a time: the target holds a lock.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import registry as shelf

RECORD_WITHIN_S = 15  # a result that was just made is in the cache a few seconds later


class Refused(Exception):
    """What keeps it from being published, with the remedy."""


def iact():
    """The iact that runs this, else the one on PATH."""
    pid = os.getppid()
    while pid > 1:
        try:
            program = os.readlink(f"/proc/{pid}/exe")
            if os.path.basename(program).startswith("iact"):
                return f"/proc/{pid}/exe"
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
    found = shutil.which("iact")
    if not found:
        raise Refused("no `iact` to ask for the record; run `iact build cpython-publish`, or put iact on PATH")
    return found


def asked(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"`iact {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def cached(program, archive):
    """The cache's record of the result that ARCHIVE is an output of."""
    end = time.monotonic() + RECORD_WITHIN_S
    while True:
        for entry in json.loads(asked(program, "cache", "ls", "--json")):
            if entry["target"] and str(archive) in entry["outputs"]:
                return entry
        if time.monotonic() > end:
            raise Refused(f"the cache has no record of {archive}; build it with iact, not with --no-cache, and publish then")
        time.sleep(0.5)


def described(archive):
    """What the name and the checksum of an archive say."""
    parts = re.fullmatch(r"(cpython-(\d+\.\d+\.\d+)-([a-z0-9.]+)-build(\d+))\.tgz", archive.name)
    if not parts:
        raise Refused(f"`{archive.name}` is not cpython-X.Y.Z-DISTRO-buildN.tgz")
    try:
        sidecar = Path(f"{archive}.sha256").read_text().split()
        actual = shelf.sha256(archive)
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}; build it first: iact build cpython-build") from None
    if sidecar != [actual, archive.name]:
        raise Refused(f"wrong checksum of {archive.name}: {' '.join(sidecar[:1])} expected, got {actual}; build it again")
    name, version, distro, build = parts.groups()
    return {"schema": 1, "name": name, "version": version, "build": build, "distro": distro, "file": archive.name,
            "bytes": archive.stat().st_size, "sha256": actual}  # fmt: skip


def published(release, described):
    """Whether exactly this is published; refuses if something else is, or if it is damaged."""
    if not release.exists():
        return False
    record = shelf.record_of(release)
    wrong = record if isinstance(record, str) else shelf.damage(release, record)
    if wrong:
        raise Refused(f"{release} is damaged: {wrong}; put it back from a copy, or remove it to publish it anew")
    if record["sha256"] != described["sha256"]:
        raise Refused(f"{release.name} is published with another content ({record['sha256'][:12]}, this is "
                      f"{described['sha256'][:12]}); nothing is overwritten: raise build=…")  # fmt: skip
    return True


def stage(program, archive, entry, record, new):
    """Fills the folder of a release with the cache's bytes, and reads them again."""
    copy = new / ".cache"
    asked(program, "artifact", "get", entry["target"], str(copy))
    file = new / record["file"]
    os.rename(copy / archive, file)
    shutil.rmtree(copy)
    if shelf.sha256(file) != record["sha256"]:
        raise Refused(f"{archive} is not what the cache holds of `{entry['target']}`; build it again")
    (new / f"{record['file']}.sha256").write_text(f"{record['sha256']}  {record['file']}\n")
    record |= {"target": entry["target"], "fingerprint": entry["fingerprint"], "built_unix_ms": entry["finished_unix_ms"],
               "took_ms": entry["duration_ms"], "published_unix_ms": time.time_ns() // 1_000_000}  # fmt: skip
    (new / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    for path in new.iterdir():
        path.chmod(0o444)
        with open(path, "rb") as opened:
            os.fsync(opened.fileno())
    new.chmod(0o755)


def publish(archive, registry):
    record = described(archive)
    release = registry / record["name"]
    if published(release, record):
        print(f"{release.name}: published already, {record['sha256']}")
        return
    program = iact()
    entry = cached(program, archive)
    registry.mkdir(parents=True, exist_ok=True)
    for left in registry.glob(".new-*"):  # by one that was killed
        shutil.rmtree(left)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=registry))
    try:
        stage(program, archive, entry, record, new)
        os.rename(new, release)
    except OSError as error:
        if release.exists():
            raise Refused(f"{release.name} was published meanwhile; nothing is overwritten") from None
        raise Refused(f"cannot write to {registry}: {error.strerror}; make room, or choose another registry=…") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shelf.write_index(registry, record["published_unix_ms"])
    print(f"{release.name}: published in {registry}, {record['bytes'] // 1000} kB, {record['sha256']}")


def main(arguments):
    if len(arguments) != 2:
        print("usage: publish.py ARCHIVE REGISTRY", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        publish(Path(arguments[0]), Path(arguments[1]))
    except Refused as why:
        print(f"publish.py: {why}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"publish.py: {error.filename}: {error.strerror}; choose another registry=…", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
