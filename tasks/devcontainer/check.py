#!/usr/bin/env python3
"""Checks .devcontainer without Docker: what it says, and, given an archive, what it does.

    check.py FOLDER PYTHON BUILD             devcontainer.json, Dockerfile and scripts fit each other and the workspace
    check.py FOLDER PYTHON BUILD ARCHIVE     and the container's own steps succeed on that CPython, twice

FOLDER   of devcontainer.json, which is JSON with comments
PYTHON   the version of the workspace, BUILD its build number: the container has to ask for the same
ARCHIVE  the packed CPython; it is installed in a scratch folder, by the command that the Dockerfile uses

Every mistake is told, one a line; exit 1 if there is one. The steps need a package index if the requirements do.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).absolute().parent
sys.path.insert(0, str(HERE.parent / "lint"))
from jsonfile import parse  # noqa: E402

# Of https://containers.dev: name and type, for containers made of a Dockerfile or an image.
KEYS = {
    "name": str,
    "image": str,
    "build": dict,
    "features": dict,
    "customizations": dict,
    "containerEnv": dict,
    "remoteEnv": dict,
    "forwardPorts": list,
    "portsAttributes": dict,
    "otherPortsAttributes": dict,
    "runArgs": list,
    "appPort": (int, str, list),
    "remoteUser": str,
    "containerUser": str,
    "updateRemoteUserUID": bool,
    "userEnvProbe": str,
    "mounts": list,
    "init": bool,
    "workspaceFolder": str,
    "workspaceMount": str,
    "overrideCommand": bool,
    "shutdownAction": str,
    "privileged": bool,
    "capAdd": list,
    "securityOpt": list,
    "hostRequirements": dict,
    "waitFor": str,
    "overrideFeatureInstallOrder": list,
    "$schema": str,
    "initializeCommand": (str, list, dict),
    "onCreateCommand": (str, list, dict),
    "updateContentCommand": (str, list, dict),
    "postCreateCommand": (str, list, dict),
    "postStartCommand": (str, list, dict),
    "postAttachCommand": (str, list, dict),
}
BUILD_KEYS = {"dockerfile", "context", "args", "target", "cacheFrom", "options"}


def commands(value):
    """Every command of a life-cycle key, as a list of words."""
    if isinstance(value, dict):
        return [words for one in value.values() for words in commands(one)]
    return [shlex.split(value) if isinstance(value, str) else value]


def settings(found, root):
    """Keys, types, ports, life-cycle scripts."""
    for name, value in found.items():
        if name not in KEYS:
            yield f"`{name}` is no key of devcontainer.json"
        elif not isinstance(value, KEYS[name]):
            yield f"`{name}` has the wrong type: {type(value).__name__}"
        elif name.endswith("Command"):
            for words in commands(value):
                script = root / words[0]
                if "/" in words[0] and not os.access(script, os.X_OK):
                    yield f"`{name}`: {words[0]} is not there, or not executable"
    ports = found.get("forwardPorts", [])
    for port in ports if isinstance(ports, list) else []:
        if not isinstance(port, int) or not 0 < port < 65536:
            yield f"`forwardPorts`: {port!r} is no port"
        elif ports.count(port) > 1:
            yield f"`forwardPorts`: {port} stands twice"


def instructions(text):
    """Those of a Dockerfile, a line each, without comments."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if len(line.split(None, 1)) == 2]


def dockerfile(found, folder, wanted):
    """The Dockerfile, its arguments, and what it copies."""
    build = found.get("build", {})
    for name in build.keys() - BUILD_KEYS:
        yield f"`build.{name}` is no key of devcontainer.json"
    path = folder / build.get("dockerfile", "Dockerfile")
    if not path.is_file():
        yield f"`build.dockerfile`: no {path.name}"
        return
    args, context = build.get("args", {}), folder / build.get("context", ".")
    for name, value in wanted.items():
        if args.get(name) != value:
            yield f"`build.args.{name}` is {args.get(name)!r}, and the workspace has {value!r}"
    yield from agreed(path, args, context)


def agreed(path, args, context):
    """Each ARG has a value, each value an ARG, and what is copied is there."""
    known = {}
    for word, rest in instructions(path.read_text()):
        if word == "ARG":
            name, _, default = rest.partition("=")
            known[name] = args.get(name, default)
            if not known[name]:
                yield f"{path.name}: `{name}` has no default, and `build.args` none for it"
        elif word == "COPY" and "--from=" not in rest:
            for source in rest.split()[:-1]:
                name = re.sub(r"\$\{(\w+)\}", lambda match: known.get(match[1], ""), source)
                # What is in dist/ a target makes.
                if not name.startswith("dist/") and not (context / name).exists():
                    yield f"{path.name} copies {name}, which is not there"
    for name in args.keys() - known.keys():
        yield f"`build.args.{name}`: {path.name} has no such ARG"


def steps(root, archive):
    """What happens in the container, in a scratch folder: install, create twice, start."""
    with tempfile.TemporaryDirectory(prefix="devcontainer.") as scratch:
        prefix, venv = f"{scratch}/opt/python", f"{scratch}/home/.venv"
        os.mkdir(f"{scratch}/home")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        env |= {"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": f"{scratch}/home", "POSTGRES_PORT": "none", "MARIADB_PORT": "1"}
        for words, expected in (
            ([str(root / "tasks/cpython/install.sh"), archive, prefix], "Python"),
            ([str(HERE / "create.sh"), venv], "Python"),
            ([str(HERE / "create.sh"), venv], "is up to date"),
            ([str(HERE / "start.sh")], "warning: no MariaDB at 127.0.0.1:1"),
        ):
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
            name = pathlib.Path(words[0]).name
            if done.returncode or expected not in done.stdout:
                why = (done.stderr + done.stdout).strip()[-2000:]
                yield f"{name} failed in the container's place ({done.returncode}): {why}"
                return
            print(f"{name}: {done.stdout.strip().splitlines()[-1]}".replace(scratch, ""))


def main(words):
    if len(words) not in (3, 4):
        print("usage: check.py FOLDER PYTHON BUILD [ARCHIVE]", file=sys.stderr)
        return 2
    folder = pathlib.Path(words[0]).absolute()
    root = folder.parent
    try:
        found = parse(folder / "devcontainer.json")
    except (ValueError, OSError) as error:
        print(f"{words[0]}/devcontainer.json: {error}", file=sys.stderr)
        return 1
    wrong = [*settings(found, root), *dockerfile(found, folder, {"PYTHON_VERSION": words[1], "PYTHON_BUILD": words[2]})]
    if len(words) == 4 and not wrong:
        wrong += steps(root, str(pathlib.Path(words[3]).absolute()))
    for line in wrong:
        print(f"{words[0]}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
