"""Whether the databases answer, asked of the databases themselves.

Each is asked over a connection of its own that is closed again: a connection from before says nothing about now. What is reported
names the kind of failure only, since drivers put user and host into their messages; the message goes to the log.
"""

import logging
import time
from contextlib import closing
from typing import Any

from django.db import connections
from django.db.utils import DatabaseError, InterfaceError

log = logging.getLogger(__name__)


def check(alias: str) -> dict[str, Any]:
    """One database: whether it answers, and after how long."""
    started = time.monotonic()
    name = connections.settings[alias].get("NAME") or alias
    try:
        with closing(connections.create_connection(alias)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            ok, error = cursor.fetchone() == (1,), None
    except (DatabaseError, InterfaceError) as failure:
        ok, error = False, type(failure).__name__
        log.error("%s does not answer: %s", name, failure)
    report = {"name": name, "engine": connections[alias].vendor, "ok": ok, "ms": round((time.monotonic() - started) * 1000)}
    return report if error is None else {**report, "error": error}


def report() -> dict[str, Any]:
    """Both databases; `ok` if both answer."""
    checks = [check(alias) for alias in ("default", "ivr")]
    return {"ok": all(found["ok"] for found in checks), "databases": checks}
