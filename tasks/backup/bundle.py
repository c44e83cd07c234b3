#!/usr/bin/env python3
"""Puts a backup into one file, and proves one.

    bundle.py pack OUT [--recipient AGE] [--private FILE]... PATH...
    bundle.py check BUNDLE [--identity FILE]

OUT          a tar archive of the PATHs with a MANIFEST.json (size and SHA-256 of each file), encrypted if --recipient is
             given. It replaces what was there only when it is whole. PATHs that are not there are said to be missing
--private    taken along only into an encrypted bundle
check        reads all of it: nothing missing, nothing too much, every file what the manifest says, every .gz unpacks

The same files give the same archive. Needs age for --recipient and --identity.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import zlib

MANIFEST = "MANIFEST.json"
CHUNK_BYTES = 1 << 20


class Trouble(Exception):
    """Something a person has to put right."""


def files_of(paths):
    """All files below the paths, sorted; and the paths that are not there."""
    found, missing = [], []
    for path in paths:
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                found += [os.path.join(folder, name) for name in names]
        elif os.path.isfile(path):
            found.append(path)
        else:
            missing.append(path)
    return sorted(found), missing


def digest_of(file):
    digest = hashlib.sha256()
    while data := file.read(CHUNK_BYTES):
        digest.update(data)
    return digest.hexdigest()


def entry(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, 0
    return info


def write(out, files):
    """The archive; a file that changes meanwhile is trouble."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        manifest = {}
        for path in files:
            with open(path, "rb") as file:
                manifest[path] = {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest_of(file)}
        text = json.dumps({"format": 1, "files": manifest}, indent=1, sort_keys=True).encode()
        archive.addfile(entry(MANIFEST, len(text)), io.BytesIO(text))
        for path, facts in manifest.items():
            with open(path, "rb") as file:
                archive.addfile(entry(path, facts["bytes"]), file)


def wanted(asked):
    """The files to pack; what is left out is said."""
    files, missing = files_of(asked.paths + (asked.private if asked.recipient else []))
    for path in missing:
        print(f"not there, so not in the backup: {path}")
    for path in () if asked.recipient else asked.private:
        if os.path.exists(path):
            print(f"private, so not in a backup that is not encrypted (age_recipient=…): {path}")
    if not files:
        raise Trouble("nothing to back up")
    return files


def pack(asked):
    files = wanted(asked)
    folder = os.path.dirname(asked.out) or "."
    os.makedirs(folder, exist_ok=True)
    number, temporary = tempfile.mkstemp(prefix=".bundle.", dir=folder)
    age = None
    try:
        with open(number, "wb") as file:
            out = file
            if asked.recipient:
                argv = ["age", "--encrypt", "--recipient", asked.recipient]
                age = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE)
                out = age.stdin
            try:
                write(out, files)
                out.flush()
            except BrokenPipeError:
                pass
            if age:
                with contextlib.suppress(BrokenPipeError):
                    age.stdin.close()
                said = age.stderr.read().decode(errors="replace").strip()
                if age.wait():
                    raise Trouble(f"age failed: {said.splitlines()[0] if said else age.returncode}")
            os.fsync(file.fileno())
        os.rename(temporary, asked.out)
    except BaseException:
        if age:
            age.kill()
            age.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    print(f"{asked.out}: {len(files)} files, {os.path.getsize(asked.out)} bytes")


def unpacks(file, name):
    """Reads a member to its end; its digest. One that is named .gz has to unpack."""
    digest, gzip = hashlib.sha256(), zlib.decompressobj(31) if name.endswith(".gz") else None
    while data := file.read(CHUNK_BYTES):
        digest.update(data)
        if gzip:
            gzip.decompress(data)
    if gzip and not gzip.eof:
        raise Trouble(f"`{name}` is truncated")
    return digest.hexdigest()


def check(asked):
    with open(asked.bundle, "rb") as file:
        source, age = file, None
        if asked.bundle.endswith(".age"):
            if not asked.identity or not os.path.isfile(asked.identity):
                raise Trouble(f"`{asked.bundle}` is encrypted: age_identity=FILE has to name the file with its key")
            argv = ["age", "--decrypt", "--identity", asked.identity]
            age = subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            source = age.stdout
        try:
            count = compare(source)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            if age:
                said = age.stderr.read().decode(errors="replace").strip()
                error = said.splitlines()[0] if said else error
            raise Trouble(f"`{asked.bundle}` is damaged: {error}") from None
        finally:
            if age:
                age.kill()
                age.wait()
    print(f"{asked.bundle}: {count} files, all of them whole")


def compare(source):
    """Every member with the manifest, which is the first; how many there are."""
    with tarfile.open(fileobj=source, mode="r|") as archive:
        first = archive.next()
        if first is None or first.name != MANIFEST:
            raise Trouble(f"this is no backup: it does not begin with {MANIFEST}")
        expected = json.load(archive.extractfile(first))["files"]
        count = len(expected)
        while member := archive.next():
            facts = expected.pop(member.name, None)
            if facts is None:
                raise Trouble(f"`{member.name}` is not in its manifest")
            if unpacks(archive.extractfile(member), member.name) != facts["sha256"]:
                raise Trouble(f"`{member.name}` is not what its manifest says")
    if expected:
        raise Trouble(f"{len(expected)} files are missing, `{min(expected)}` for one")
    return count


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("pack")
    verb.add_argument("out")
    verb.add_argument("paths", nargs="+")
    verb.add_argument("--recipient", default="")
    verb.add_argument("--private", action="append", default=[])
    verb.set_defaults(work=pack)
    verb = verbs.add_parser("check")
    verb.add_argument("bundle")
    verb.add_argument("--identity", default="")
    verb.set_defaults(work=check)
    asked = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.umask(0o077)
    try:
        asked.work(asked)
    except (Trouble, OSError) as trouble:
        sys.exit(f"bundle.py: {trouble}")


if __name__ == "__main__":
    main()
