#!/usr/bin/env python3
"""The health of the application itself, seen from inside: run by the interpreter the site runs on, with the site's variables.

    application.py BACKEND [--json]

    1 project     BACKEND has a manage.py and settings that load (fail)
    2 imports     django, psycopg and MySQLdb can be imported (fail)
    3 sessions    SESSION_ENGINE keeps them in the database (fail)
    4 databases   each of the site's databases answers a query (fail)
    5 migrations  none is unapplied (fail)
    6 rows        sessions kept: more than 50,000 are a warning, more than 100,000 a failure

Exit 0: nothing failed, 1: something did, 2: it was called wrongly.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from probe import NoAnswer
from verdict import Check, Skipped, Warned, tell

WARN_ROWS, FAIL_ROWS = 50_000, 100_000
ENGINE = "django.contrib.sessions.backends.db"


def project(backend: Path) -> str:
    if not (backend / "manage.py").is_file():
        raise NoAnswer(f"no manage.py in {backend}")
    # The site's own Python modules come first from here on.
    sys.path.insert(0, str(backend))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "callcentersite.settings")
    try:
        importlib.import_module("django").setup()
    except Exception as failure:  # noqa: BLE001 settings may fail in any way
        raise NoAnswer(f"{type(failure).__name__}: {failure}") from None
    return os.environ["DJANGO_SETTINGS_MODULE"]


def imports() -> str:
    versions = []
    for name in ("django", "psycopg", "MySQLdb"):
        try:
            module = importlib.import_module(name)
        except ImportError as failure:
            raise NoAnswer(f"{failure}: is requirements/base.txt installed?") from None
        versions.append(f"{name} {getattr(module, '__version__', '')}".strip())
    return ", ".join(versions)


def sessions() -> str:
    from django.conf import settings

    if settings.SESSION_ENGINE != ENGINE:
        raise NoAnswer(f"SESSION_ENGINE is {settings.SESSION_ENGINE}, not {ENGINE}")
    return ENGINE


def asked(alias: str, sql: str) -> object:
    """The first value of the answer."""
    from django.db import Error, connections

    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]
    except Error as failure:
        raise NoAnswer(f"{alias}: {failure}".strip().replace("\n", " ")) from None


def databases() -> str:
    from django.db import connections

    for alias in connections:
        asked(alias, "SELECT 1")
    return ", ".join(f"{alias} ({connections[alias].vendor})" for alias in connections)


def migrations() -> str:
    from django.db import DEFAULT_DB_ALIAS, Error, connections
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as failure:
        raise NoAnswer(str(failure).strip().replace("\n", " ")) from None
    if plan:
        names = ", ".join(f"{one.app_label}.{one.name}" for one, _ in plan[:5])
        raise NoAnswer(f"{len(plan)} unapplied: {names}; `iact build migrate` applies them")
    return f"{len(executor.loader.applied_migrations)} applied"


def rows() -> str:
    from django.db import DEFAULT_DB_ALIAS

    kept = int(str(asked(DEFAULT_DB_ALIAS, "SELECT COUNT(*) FROM django_session")))
    said = f"{kept} sessions kept"
    if kept > FAIL_ROWS:
        raise NoAnswer(f"{said}, more than {FAIL_ROWS}: `manage.py clearsessions`")
    if kept > WARN_ROWS:
        raise Warned(f"{said}, more than {WARN_ROWS}: `manage.py clearsessions`")
    return said


def inside(check: Callable[[], str]) -> Callable[[], str]:
    """The check, where there is a project to look into."""

    def asked_of_a_project() -> str:
        from django.conf import settings

        if not settings.configured:
            raise Skipped("there is no project to look into")
        return check()

    return asked_of_a_project


def main(words: list[str]) -> int:
    if len(words) not in (1, 2) or words[1:] not in ([], ["--json"]):
        print("usage: application.py BACKEND [--json]", file=sys.stderr)
        return 2
    backend = Path(words[0]).resolve()
    checks: list[Check] = [
        ("project", "fail", lambda: project(backend)),
        ("imports", "fail", imports),
        ("sessions", "fail", inside(sessions)),
        ("databases", "fail", inside(databases)),
        ("migrations", "fail", inside(migrations)),
        ("rows", "fail", inside(rows)),
    ]
    return tell(checks, as_json=bool(words[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
