"""The two databases, as the environment describes them: a pure function, so that a test can ask it anything.

`default` is `iact_analytics`, which the application owns; `ivr` is `ivr_legacy`, which it only reads. Each may be PostgreSQL
or MariaDB: `ANALYTICS_DB_ENGINE` and `IVR_DB_ENGINE`, with `_HOST`, `_PORT` and `_NAME` beside them. The engine `sqlite` is the
file `_NAME`, for an environment without servers; `none` is a database nobody may touch, for what has to work without one.
`DB_TIMEOUT_S` bounds every statement; 0, for migrations, bounds only getting connected.
"""

from collections.abc import Mapping
from typing import Any

CONNECT_TIMEOUT_S = 5
PORTS = {"postgresql": "5432", "mariadb": "3306", "sqlite": "", "none": ""}


class Misconfigured(ValueError):
    """What the environment says makes no sense, and what would."""


def databases(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Django's `DATABASES`."""
    return {
        "default": _database(env, "ANALYTICS", "postgresql", "iact_analytics"),
        "ivr": _database(env, "IVR", "mariadb", "ivr_legacy"),
    }


def _database(env: Mapping[str, str], prefix: str, engine: str, name: str) -> dict[str, Any]:
    engine = env.get(f"{prefix}_DB_ENGINE") or engine
    if engine not in PORTS:
        raise Misconfigured(f"{prefix}_DB_ENGINE is {engine!r}: one of {', '.join(PORTS)} is known")
    if engine == "none":
        return {"ENGINE": "django.db.backends.dummy"}
    if engine == "sqlite":
        file = env.get(f"{prefix}_DB_NAME") or f"{name}.sqlite3"
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": {"timeout": CONNECT_TIMEOUT_S}}
    password = env.get("DB_PASSWORD")
    if not password:
        raise Misconfigured("DB_PASSWORD is not set: put it into the environment or into .env")
    timeout = env.get("DB_TIMEOUT_S") or "5"
    if not timeout.isdecimal():
        raise Misconfigured(f"DB_TIMEOUT_S is {timeout!r}: a number of seconds is wanted")
    name = env.get(f"{prefix}_DB_NAME") or name
    return {
        "ENGINE": "django.db.backends.postgresql" if engine == "postgresql" else "django.db.backends.mysql",
        "HOST": env.get(f"{prefix}_DB_HOST") or "127.0.0.1",
        "PORT": env.get(f"{prefix}_DB_PORT") or PORTS[engine],
        "NAME": name,
        "USER": env.get("DB_USER") or "django_user",
        "PASSWORD": password,
        "CONN_MAX_AGE": 0,
        "OPTIONS": _options(engine, int(timeout)),
        "TEST": {"NAME": f"test_{name}{env.get('TEST_DB_SUFFIX', '')}"},
    }


def _options(engine: str, timeout_s: int) -> dict[str, Any]:
    """A server that takes the connection and says nothing must not hold a request for ever."""
    if engine == "postgresql":
        return {"connect_timeout": CONNECT_TIMEOUT_S, "options": f"-c statement_timeout={timeout_s * 1000}"}
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": timeout_s or None,
        "write_timeout": timeout_s or None,
        "charset": "utf8mb4",
        "init_command": "SET sql_mode='STRICT_TRANS_TABLES'",
    }
