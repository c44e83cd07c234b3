#!/usr/bin/env python3
"""Looks through an image for what must not be in one.

    scan.py ARCHIVE          every layer is read, so that what a later one hides is found, too

An image runs as an ordinary user, starts by itself, and holds no secret, no repository, no key, no device, nothing setuid of ours and
no name twice spelt. Exit 1 names every finding. Needs Python only. Known vulnerabilities are `updates.py`'s affair.
"""

import re
import sys
import tarfile

sys.dont_write_bytecode = True

import oci

NAMES = re.compile(
    r"(^|/)(\.env(\..*)?|\.git|\.hg|\.npmrc|\.pypirc|\.netrc|id_(rsa|dsa|ecdsa|ed25519)|.*\.p12|credentials\.json|secret-key)$"
)
TEXTS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s"),
    "an access key of AWS": re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    "a password in an address": re.compile(
        rb"\b(postgres(ql)?|mysql|mariadb|amqp|redis)://[^\s:/@{}$<]+:[^\s@{}$<]{4,}@[a-z0-9.-]+"
    ),
}
READ = 1 << 20


def judge_start(config):
    """What is wrong about how it starts."""
    start = config.get("config", {})
    user = (start.get("User") or "root").split(":")[0]
    if user in ("root", "0"):
        yield "it runs as root; a Dockerfile says USER"
    if not start.get("Entrypoint") and not start.get("Cmd"):
        yield "it does not say what to start"
    for entry in start.get("Env", []):
        name, _, value = entry.partition("=")
        if value and re.search(r"(PASSWORD|SECRET|TOKEN|_KEY)$", name):
            yield f"its environment holds {name}"


def judge_entry(member, file, is_ours):
    """What is wrong about one file."""
    name = member.name.removeprefix("./")
    if NAMES.search(name):
        yield f"/{name}: does not belong into an image"
    if is_ours and member.isdev():
        yield f"/{name}: a device"
    if is_ours and member.isfile() and member.mode & 0o6000:
        yield f"/{name}: setuid or setgid"
    if is_ours and (member.isfile() or member.isdir()) and member.mode & 0o002 and not member.mode & 0o1000:
        yield f"/{name}: everybody may write to it"
    if is_ours and member.isfile():
        head = file.read(READ)
        for what, pattern in TEXTS.items():
            if pattern.search(head):
                yield f"/{name}: holds {what}"


def main(argv):
    if len(argv) != 1:
        print("usage: scan.py ARCHIVE", file=sys.stderr)
        return 2
    archive = oci.Archive(argv[0])
    found, files = list(judge_start(archive.config)), 0
    for number in range(len(archive.layers)):
        # The first layer is the distribution's.
        with archive.layer(number) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                files += 1
                found += judge_entry(member, tar.extractfile(member) if member.isreg() else None, number > 0)
    for line in found:
        print(f"FAIL {line}", file=sys.stderr)
    print(f"{archive.digest}: {files} files in {len(archive.layers)} layers, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except oci.Broken as error:
        print(f"scan.py: {error}", file=sys.stderr)
        sys.exit(1)
