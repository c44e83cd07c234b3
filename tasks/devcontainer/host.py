#!/usr/bin/env python3
"""What a host of the development container needs, step by step: what is there, and how to get what is not.

    host.py                    the table of all steps; exit 1 if a needed one is missing. Changes nothing
    host.py --before-build     the same for what building the container needs
    host.py check STEP|all     says nothing if that step is done, else exit 1
    host.py fix STEP|all       does what is not done, in order; as root, or by sudo without a password

Debian or Ubuntu. Docker is the distribution's own package. `fix` never removes a package, and keeps the earlier daemon.json
beside the new one.
"""

import getpass
import grp
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).absolute().parent.parent.parent
DAEMON = pathlib.Path("/etc/docker/daemon.json")
PACKAGES = ("build-essential", "ca-certificates", "curl", "git", "gnupg", "lsb-release", "wget")
OLDEST = {"debian": (11,), "ubuntu": (20, 4)}
DISK_GB, MEMORY_GB = 20, 7
SETTINGS = {
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m", "max-file": "3"},
    "storage-driver": "overlay2",
    "live-restore": True,
    "userland-proxy": False,
}


class Missing(Exception):
    """What is not as it should be."""


def said(*command):
    """A program's output; `Missing` with its words if it fails."""
    if not shutil.which(command[0]):
        raise Missing(f"no {command[0]} on PATH")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"`{' '.join(command)}` does not answer") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(lines[-1] if lines else f"`{' '.join(command)}` failed")
    return done.stdout.strip()


def version(text):
    """As in `(20, 10, 24)`."""
    return tuple(int(part) for part in re.search(r"\d+(?:\.\d+)*", text + " 0")[0].split("."))


def system():
    lines = (line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    facts = {name: value.strip('"') for name, value in lines}
    name, number = facts.get("ID", "?"), facts.get("VERSION_ID", "0")
    if name not in OLDEST or version(number) < OLDEST[name]:
        raise Missing(f"{name} {number}, not Debian 11 or Ubuntu 20.04 or younger")
    return f"{name} {number}"


def disk():
    found = shutil.disk_usage(ROOT).free // 10**9
    if found < DISK_GB:
        raise Missing(f"{found} GB free, {DISK_GB} wanted")
    return f"{found} GB free"


def memory():
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**9
    if found < MEMORY_GB:
        raise Missing(f"{found} GB, {MEMORY_GB} wanted")
    return f"{found} GB"


def packages():
    installed = said("dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n")
    here = {line.split()[0] for line in installed.splitlines() if line.endswith(" installed")}
    absent = [name for name in PACKAGES if name not in here]
    if absent:
        raise Missing(f"not installed: {' '.join(absent)}")
    return f"{len(PACKAGES)} packages"


def docker():
    found = said("docker", "--version")
    if version(found) < (20, 10):
        raise Missing(f"{found}; 20.10 or younger is wanted")
    if not shutil.which("dockerd"):
        raise Missing(f"{found.split(',')[0]}, but no dockerd")
    return found.split(",")[0]


def group():
    user = getpass.getuser()
    if os.getuid() == 0:
        return "root needs no group"
    try:
        found = grp.getgrnam("docker")
    except KeyError:
        raise Missing("there is no group docker") from None
    if found.gr_gid not in os.getgroups():
        raise Missing(f"{user} is not in the group docker, or not in this session")
    return f"{user} is in it"


def daemon_json():
    try:
        found = json.loads(DAEMON.read_text())
    except FileNotFoundError:
        raise Missing(f"no {DAEMON}") from None
    except (ValueError, OSError) as error:
        raise Missing(f"{DAEMON}: {error}") from None
    differs = [name for name, value in SETTINGS.items() if found.get(name) != value]
    if differs:
        raise Missing(f"{DAEMON} is silent or otherwise about {', '.join(differs)}")
    return "logs are limited, containers outlive the daemon"


def daemon():
    return f"server {said('docker', 'info', '--format', '{{.ServerVersion}}')}"


def works():
    name = f"iact-devcontainer-{os.getpid()}"
    for kind in ("volume", "network"):
        said("docker", kind, "create", name)
        said("docker", kind, "rm", name)
    return "volumes and networks come and go"


def archive():
    found = sorted((ROOT / "dist").glob("cpython-*.tgz"))
    if not found:
        raise Missing("no cpython-*.tgz in dist/")
    return ", ".join(path.name for path in found)


def folder():
    if not (ROOT / ".devcontainer" / "devcontainer.json").is_file():
        raise Missing("no .devcontainer/devcontainer.json")
    return ".devcontainer/"


def become():
    """What stands in front of a command that changes the machine."""
    if os.getuid() == 0:
        return []
    try:
        said("sudo", "-n", "true")
    except Missing as why:
        raise Missing(f"this needs root, or sudo without a password ({why})") from None
    return ["sudo", "-n"]


def change(*command, given=None):
    """A command that changes the machine; what it says is shown."""
    done = subprocess.run([*become(), *command], input=given, text=True, check=False)
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` failed")


def apt(*names):
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    change(*install, "update")
    change(*install, "install", "-y", "--no-install-recommends", *names)


def fix_daemon_json():
    kept = {}
    if DAEMON.exists():
        try:
            kept = json.loads(DAEMON.read_text())
        except ValueError as error:
            raise Missing(f"{DAEMON} is no JSON ({error}); mend or remove it first") from None
        change("cp", "-p", str(DAEMON), f"{DAEMON}.before")
    change("install", "-d", "-m", "755", str(DAEMON.parent))
    partial = f"{DAEMON}.new"
    change("tee", partial, given=json.dumps({**kept, **SETTINGS}, indent=4) + "\n")
    change("mv", partial, str(DAEMON))


def fix_daemon():
    if pathlib.Path("/run/systemd/system").is_dir():
        change("systemctl", "enable", "--now", "docker")
    else:
        change("service", "docker", "start")


# Name, check, whether the container cannot do without, whether building it needs it, remedy, remedy in words.
STEPS = {
    "system": (system, False, False, None, "Debian 11, Ubuntu 20.04 or younger"),
    "disk": (disk, False, True, None, "`iact cache sweep`, `docker system df`"),
    "memory": (memory, False, False, None, "close what is not needed, or give the machine more"),
    "packages": (packages, True, False, lambda: apt(*PACKAGES), "apt-get install"),
    "docker": (docker, True, True, lambda: apt("docker.io", "iptables"), "apt-get install docker.io iptables"),
    "group": (
        group,
        True,
        True,
        lambda: change("usermod", "-aG", "docker", getpass.getuser()),
        "usermod -aG docker, then a new session",
    ),
    "daemon-json": (daemon_json, False, False, fix_daemon_json, f"{DAEMON} gets the settings it lacks"),
    "daemon": (daemon, True, True, fix_daemon, "systemctl enable --now docker"),
    "works": (works, True, False, None, "`iact logs`, journalctl -u docker"),
    "archive": (archive, True, True, None, "`iact build cpython-build`"),
    "folder": (folder, True, True, None, "git checkout .devcontainer"),
}


def table(names):
    wrong = fixable = 0
    for name in names:
        check, needed, _, remedy, words = STEPS[name]
        try:
            print(f"ok       {name:<12} {check()}")
        except Missing as why:
            wrong += needed
            fixable += remedy is not None
            print(f"{'MISSING' if needed else 'warning'}  {name:<12} {why}; {words}")
    if fixable:
        print("`iact devcontainer-host-fix` does what can be done here, after asking; step=NAME does one step")
    return 1 if wrong else 0


def fix(names):
    for name in names:
        check, needed, _, remedy, words = STEPS[name]
        try:
            print(f"{name}: {check()}, nothing to do")
            continue
        except Missing as why:
            if remedy is None:
                if needed or len(names) == 1:
                    print(f"{name}: {why}; by hand: {words}")
                continue
            print(f"{name}: {why}; {words}", flush=True)
        remedy()


def chosen(name):
    if name != "all" and name not in STEPS:
        print(f"host.py: no step `{name}`; they are all, {', '.join(STEPS)}", file=sys.stderr)
        sys.exit(2)
    return list(STEPS) if name == "all" else [name]


def main(words):
    match words:
        case []:
            return table(STEPS)
        case ["--before-build"]:
            return table([name for name, step in STEPS.items() if step[2]])
        case ["check", name]:
            for step in chosen(name):
                check, needed, _, remedy, _ = STEPS[step]
                if remedy is not None or len(chosen(name)) == 1:
                    check()
            return 0
        case ["fix", name]:
            fix(chosen(name))
            return 0
    print("usage: host.py [--before-build | check STEP|all | fix STEP|all]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Missing as problem:
        print(f"host.py: {problem}", file=sys.stderr)
        sys.exit(1)
