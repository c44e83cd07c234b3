#!/usr/bin/env python3
"""A support bundle: what somebody who was not there needs to know, and no secret.

    collect.py OUT KIND SEVERITY

OUT        incident.tar.gz, readable by its owner only
KIND       one of playbooks.json: its next steps are in SUMMARY.md
SEVERITY   critical, high, medium or low

Taken along: the machine's condition, versions of tools, the Iactfile, the logs and records of iact here, the last commits,
containers and the names (only the names) of environment variables. Every text passes redact.py; the finished bundle is
searched for every known secret once more, and is not written if one is found. What cannot be had is said in SUMMARY.md;
nothing waits longer than ten seconds.
"""

import gzip
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

from redact import redactor

SEVERITIES = ("critical", "high", "medium", "low")
COMMAND_S = 10
FILE_BYTES = 256 << 10
LOGS = 200

COMMANDS = {
    "system.txt": [
        ["uptime"],
        ["free", "-m"],
        ["df", "-h"],
        ["df", "-i"],
        ["uname", "-a"],
        ["ps", "-eo", "pid,ppid,user,stat,etime,rss,comm"],
    ],
    "versions.txt": [
        [tool, "--version"] for tool in ("python3", "node", "git", "docker", "psql", "mariadb", "qemu-system-x86_64")
    ],
    "network.txt": [["ss", "-ltn"]],
    "git.txt": [["git", "log", "-n", "20", "--format=%h %ad %s", "--date=iso"], ["git", "status", "--short"]],
    "containers.txt": [["docker", "ps", "-a", "--format", "{{.ID}} {{.Image}} {{.Status}} {{.Names}}"]],
}
FILES = ["Iactfile.toml", "/etc/os-release", ".iact/confirmed"]
FOLDERS = [".iact/services", ".iact/log", "dist/reports"]


def said(argv):
    """What a command says, or why it cannot be had."""
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=COMMAND_S)
    except FileNotFoundError:
        return f"$ {' '.join(argv)}\n(not installed)\n"
    except subprocess.TimeoutExpired:
        return f"$ {' '.join(argv)}\n(no answer in {COMMAND_S} s)\n"
    text = (done.stdout + done.stderr).decode(errors="replace")
    return f"$ {' '.join(argv)}\n{text}{'' if done.returncode == 0 else f'(exit {done.returncode})'}\n"


def tail(path):
    """The last part of a file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - FILE_BYTES))
        text = file.read().decode(errors="replace")
    # A line that was cut could hold half a secret.
    return text if size <= FILE_BYTES else "(…)\n" + text.partition("\n")[2]


def newest(folder):
    """The newest files below a folder; links are not followed."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path) and not name.endswith(".lock"):
                found.append((os.path.getmtime(path), path))
    return [path for _, path in sorted(found, reverse=True)[:LOGS]]


def texts():
    """Name and text of everything, unredacted; what could not be read comes second."""
    found, missing = {}, []
    for name, commands in COMMANDS.items():
        found[name] = "\n".join(map(said, commands))
    found["environment.txt"] = "\n".join(sorted(os.environ)) + "\n"
    logs = [path for folder in FOLDERS for path in newest(folder)]
    for path in FILES + logs:
        try:
            found[f"files/{path.lstrip('/')}"] = tail(path)
        except OSError as error:
            missing.append(f"{path}: {error.strerror}")
    return found, missing


def summary(kind, severity, missing):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "playbooks.json")) as file:
        steps = json.load(file)[kind]
    lines = [f"# {kind}, {severity}", "", f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())} on {platform.node()}", ""]
    if os.environ.get("IACT_EXIT_CODE"):
        lines += [f"The run that asked for this ended with {os.environ['IACT_EXIT_CODE']}.", ""]
    lines += ["## Next steps", "", *[f"- `{step}`" if step.startswith("iact ") else f"- {step}" for step in steps]]
    return "\n".join([*lines, "", "## Not in here", "", *[f"- {one}" for one in missing or ["nothing is missing"]], ""])


def write(out, found):
    """The bundle, whole or not at all."""
    folder = os.path.dirname(out) or "."
    os.makedirs(folder, exist_ok=True)
    number, temporary = tempfile.mkstemp(prefix=".incident.", dir=folder)
    try:
        with (
            open(number, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for name, text in sorted(found.items()):
                data = text.encode(errors="replace")
                info = tarfile.TarInfo(f"incident/{name}")
                info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
                archive.addfile(info, io.BytesIO(data))
        os.rename(temporary, out)
    except BaseException:
        os.unlink(temporary)
        raise


def main():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "playbooks.json")) as file:
        kinds = list(json.load(file))
    if len(sys.argv) != 4 or sys.argv[2] not in kinds or sys.argv[3] not in SEVERITIES:
        print(
            f"usage: collect.py OUT KIND SEVERITY\n  KIND: {', '.join(kinds)}\n  SEVERITY: {', '.join(SEVERITIES)}",
            file=sys.stderr,
        )
        sys.exit(2)
    _, out, kind, severity = sys.argv
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.umask(0o077)
    masks = redactor(".")
    found, missing = texts()
    found["SUMMARY.md"] = summary(kind, severity, missing)
    clean = {masks.mask(name): masks.mask(text) for name, text in found.items()}
    left = [name for name, text in clean.items() if masks.finds(name + "\n" + text)]
    if left:
        sys.exit(f"collect.py: a secret would have been in {', '.join(left)}; no bundle is written, take those out by hand")
    try:
        write(out, clean)
    except OSError as error:
        sys.exit(f"collect.py: cannot write `{out}`: {error.strerror}")
    print(f"{out}: {len(clean)} files, {os.path.getsize(out)} bytes, searched for every known secret")


if __name__ == "__main__":
    main()
