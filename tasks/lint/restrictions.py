#!/usr/bin/env python3
"""Holds the example application to its restrictions, by reading its syntax trees, never by running it.

    restrictions.py FOLDER      exit 1 if one is broken, with file, what, and the remedy

Sessions in the database only (no Redis, no Memcached), the read-only router of the legacy database in use, DEBUG not fixed
to True, no secret key written out, no e-mail, no Sentry, no WebSockets, no eval, exec or pickle. Tests may do what they want.
Needs Python 3.11.
"""

import ast
import pathlib
import re
import sys

FORBIDDEN_MODULES = {
    "channels": "WebSockets",
    "daphne": "WebSockets",
    "dill": "pickled data",
    "django.core.mail": "e-mail",
    "django_redis": "Redis",
    "memcache": "Memcached",
    "pickle": "pickled data",
    "pylibmc": "Memcached",
    "pymemcache": "Memcached",
    "redis": "Redis",
    "sentry_sdk": "Sentry",
    "smtplib": "e-mail",
    "websockets": "WebSockets",
}
SESSIONS = "django.contrib.sessions.backends.db"
ROUTER = "IVRReadOnlyRouter"


class Report:
    """Counts what is wrong."""

    def __init__(self):
        self.wrong = 0

    def tell(self, path, message: str):
        print(f"{path}: {message}", file=sys.stderr)
        self.wrong += 1


def modules(tree: ast.AST):
    """Every module that is imported, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def code(path: pathlib.Path, report: Report):
    """Whatever Python the application is made of."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imported = {
        (line, name)
        for module, line in modules(tree)
        for name in FORBIDDEN_MODULES
        if module == name or module.startswith(name + ".")
    }
    for line, name in sorted(imported):
        report.tell(f"{path}:{line}", f"`{name}` is imported: {FORBIDDEN_MODULES[name]} is not allowed here")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            report.tell(f"{path}:{node.lineno}", f"{node.func.id}() is not allowed here")


def settings(path: pathlib.Path, report: Report):
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            values.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
    engine = values.get("SESSION_ENGINE")
    if not isinstance(engine, ast.Constant) or engine.value != SESSIONS:
        report.tell(path, f'sessions belong in the database; remedy: SESSION_ENGINE = "{SESSIONS}"')
    if ROUTER not in ast.unparse(values.get("DATABASE_ROUTERS", ast.Constant(""))):
        report.tell(path, f"DATABASE_ROUTERS has no {ROUTER}: the legacy database could be written to")
    debug = values.get("DEBUG")
    if isinstance(debug, ast.Constant) and debug.value:
        report.tell(path, "DEBUG is fixed to True; remedy: take it from the environment")
    key = values.get("SECRET_KEY")
    if key is None or isinstance(key, ast.Constant):
        report.tell(path, "SECRET_KEY is missing or written out; remedy: take it from the environment")
    for name in ("CACHES", "SESSION_CACHE_ALIAS"):
        if name in values and re.search("redis|memcache", ast.unparse(values[name]), re.IGNORECASE):
            report.tell(path, f"{name} names a cache server")
    for name in (name for name in values if name.startswith("EMAIL_")):
        report.tell(path, f"{name}: the application sends no e-mail")


def main(words: list) -> int:
    if len(words) != 1:
        print("usage: restrictions.py FOLDER", file=sys.stderr)
        return 2
    folder, report = pathlib.Path(words[0]), Report()
    own = sorted(path for path in folder.rglob("*.py") if not {"tests", "node_modules"} & set(path.parts))
    found = [path for path in own if path.name == "settings.py"]
    if not found:
        report.tell(folder, "has no settings.py: there is nothing whose restrictions could hold")
    for path in own:
        code(path, report)
    for path in found:
        settings(path, report)
    print(f"{len(own)} files, {report.wrong} wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
