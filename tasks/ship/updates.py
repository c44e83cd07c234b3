#!/usr/bin/env python3
"""Asks the distribution whether it has security updates for the packages in an image.

    updates.py ARCHIVE

The lists are fetched anew, into a scratch folder, from the mirrors that apt of this machine knows: an old list knows no new hole. If
they cannot be had, that is a failure (exit 3), never a pass. Exit 1 names every package with an update of the security archive. What the
distribution knows but has not mended is not looked at. Needs apt and an image of the machine's own distribution.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import oci

STATUS = "var/lib/dpkg/status"
PENDING = re.compile(r"^Inst (?P<name>\S+) \[(?P<old>[^]]+)\] \((?P<new>\S+) (?P<origin>[^[)]*)")


def status_of(archive):
    """The image's own list of packages, as its last layer has it."""
    found = None
    for number in range(len(archive.layers)):
        with archive.layer(number) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name.removeprefix("./") == STATUS and member.isreg():
                    found = tar.extractfile(member).read()
    if not found:
        raise oci.Broken(f"{archive.path} has no {STATUS}: no image of Debian or Ubuntu")
    return found


def ask(folder, *words):
    """Runs apt-get on nothing but the scratch folder."""
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
        "Acquire::Retries": 2,
        "Acquire::http::Timeout": 30,
        "Acquire::Languages": "none",
        "Debug::NoLocking": 1,
    }
    argv = ["apt-get", *words, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})


def main(argv):
    if len(argv) != 1:
        print("usage: updates.py ARCHIVE", file=sys.stderr)
        return 2
    status = status_of(oci.Archive(argv[0]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for needed in ("state/lists/partial", "cache/archives/partial"):
            (folder / needed).mkdir(parents=True)
        (folder / "status").write_bytes(status)
        fetched = ask(folder, "update", "-q")
        lists = list((folder / "state/lists").glob("*security*Packages*"))
        if fetched.returncode != 0 or not lists:
            lines = [line for line in fetched.stderr.splitlines() if line[:2] in ("E:", "W:")]
            print("\n".join(lines[-3:]), file=sys.stderr)
            print(
                "updates.py: NOT SCANNED: the security archive's lists cannot be had; is the mirror reachable?",
                file=sys.stderr,
            )
            return 3
        said = ask(folder, "--simulate", "--no-install-recommends", "dist-upgrade")
    if said.returncode != 0:
        print(f"{said.stderr.strip()}\nupdates.py: NOT SCANNED: apt cannot compare the packages", file=sys.stderr)
        return 3
    pending = [match for match in map(PENDING.match, said.stdout.splitlines()) if match]
    urgent = [match for match in pending if "ecurity" in match["origin"]]
    for match in urgent:
        print(f"FAIL {match['name']} {match['old']}: {match['new']} mends a vulnerability", file=sys.stderr)
    if urgent:
        print("the base is too old: `iact build --force=image-base docker-images` makes it anew", file=sys.stderr)
    total = status.count(b"\nPackage: ") + status.startswith(b"Package: ")
    print(f"{total} packages, {len(urgent)} with a security update, {len(pending) - len(urgent)} with another")
    return 1 if urgent else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except oci.Broken as error:
        print(f"updates.py: {error}", file=sys.stderr)
        sys.exit(1)
