#!/usr/bin/env python3
"""Validates the configuration files of a repository.

    config.py FOLDER...      of these folders, and of the current one without those below it; exit 1 if something is wrong

* toml, ini, cfg: parse, no key or section twice.
* .env.example: NAME=value lines, no name twice; .env itself is named by .gitignore.
* compose files: every service has an image or a build folder that is there, ports are bound to loopback and taken once, and
  every ${NAME} has a default or is in .env.example.

Needs Python 3.11 and PyYAML (tasks/python/lint.txt).
"""

import configparser
import pathlib
import re
import sys
import tomllib

import yaml

GENERATED = {".git", ".iact", "__pycache__", "build", "dist", "node_modules", "target"}


class Report:
    """Counts what is wrong."""

    def __init__(self):
        self.wrong = 0

    def tell(self, path, message: str):
        print(f"{path}: {message}", file=sys.stderr)
        self.wrong += 1


def files(folders: list) -> list:
    """Those of the current folder, and all in the others that no build made."""
    below = (path for folder in folders for path in pathlib.Path(folder).rglob("*") if not GENERATED & set(path.parts))
    return sorted(path for path in [*pathlib.Path().glob("*"), *below] if path.is_file())


def ini(path: pathlib.Path, report: Report):
    try:
        configparser.ConfigParser(interpolation=None).read_string(path.read_text(encoding="utf-8"))
    except configparser.Error as error:
        report.tell(path, str(error).replace("\n", " "))


def toml(path: pathlib.Path, report: Report):
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        report.tell(path, str(error))


def environment(path: pathlib.Path, report: Report) -> set:
    names = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if not match:
            report.tell(f"{path}:{number}", "is no NAME=value")
        elif match[1] in names:
            report.tell(f"{path}:{number}", f"{match[1]} stands there twice")
        else:
            names.add(match[1])
    return names


def compose(path: pathlib.Path, known: set, report: Report):
    text = path.read_text(encoding="utf-8")
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        return report.tell(path, str(error).replace("\n", " "))
    for name in re.findall(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)(?=[}?])", text):
        if name not in known:
            report.tell(path, f"${{{name}}} has no default and is in no .env.example")
    services, taken = document.get("services") or {}, {}
    if not services:
        report.tell(path, "has no services")
    for name, service in services.items():
        image(path, name, service, report)
        for port in map(str, service.get("ports") or []):
            published(path, name, port, taken, report)
        for other in service.get("depends_on") or []:
            if other not in services:
                report.tell(path, f"`{name}` depends on `{other}`, which is not defined")


def image(path: pathlib.Path, name: str, service: dict, report: Report):
    build = service.get("build")
    context = build.get("context", ".") if isinstance(build, dict) else build
    if context is None and "image" not in service:
        report.tell(path, f"`{name}` has neither image nor build")
    if isinstance(context, str) and "://" not in context and not (path.parent / context).is_dir():
        report.tell(path, f"`{name}` is built from {context}, which is not there")


def published(path: pathlib.Path, name: str, port: str, taken: dict, report: Report):
    host = port.rpartition(":")[0]
    if host in taken:
        report.tell(path, f"`{name}` and `{taken[host]}` both want port {host}")
    taken[host] = name
    if not host.startswith(("127.0.0.1:", "localhost:", "[::1]:")):
        report.tell(path, f"`{name}` listens to everybody on {port}; remedy: 127.0.0.1:{port}")


CHECKERS = {".toml": toml, ".ini": ini, ".cfg": ini}


def main(words: list) -> int:
    missing = [word for word in words if not pathlib.Path(word).is_dir()]
    if not words or missing:
        print(f"usage: config.py FOLDER...; not there: {', '.join(missing)}", file=sys.stderr)
        return 2
    report, paths = Report(), files(words)
    ignored = pathlib.Path(".gitignore").read_text(encoding="utf-8").split() if pathlib.Path(".gitignore").is_file() else []
    examples = [path for path in paths if path.name == ".env.example"]
    known = set().union(*(environment(path, report) for path in examples))
    if examples and not {".env", "/.env"} & set(ignored):
        report.tell(".gitignore", "does not name .env, so that secrets could be committed")
    composed = [path for path in paths if re.fullmatch(r"(docker-)?compose.*\.ya?ml", path.name)]
    for path in composed:
        compose(path, known, report)
    parsed = [path for path in paths if path.suffix in CHECKERS]
    for path in parsed:
        CHECKERS[path.suffix](path, report)
    print(f"{len(examples) + len(composed) + len(parsed)} files, {report.wrong} wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
