"""One look at a server, by its own protocol: a port that takes a connection proves nothing (a forwarded one always does).

Databases are asked through their client programs, with a time limit, and as the application's user. The password goes by the environment.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

LIMIT_S = 5
CLIENTS = {"postgresql": ("psql", "postgresql-client"), "mariadb": ("mariadb", "mariadb-client")}


class ClientMissing(RuntimeError):
    """The program to ask with is not here; says which package has it."""


class NoAnswer(RuntimeError):
    """The server did not answer as it should; says how, never with a password."""


def endpoints(env: Mapping[str, str] = os.environ) -> list[dict[str, str]]:
    """The two databases, from the variables that the site reads too."""
    found = []
    for prefix, engine, name in (("ANALYTICS", "postgresql", "iact_analytics"), ("IVR", "mariadb", "ivr_legacy")):
        engine = env.get(f"{prefix}_DB_ENGINE") or engine
        found.append(
            {
                "engine": engine,
                "host": env.get(f"{prefix}_DB_HOST") or "127.0.0.1",
                "port": env.get(f"{prefix}_DB_PORT") or ("5432" if engine == "postgresql" else "3306"),
                "name": env.get(f"{prefix}_DB_NAME") or name,
                "user": env.get("DB_USER") or "django_user",
            }
        )
    return found


def database(at: Mapping[str, str], password: str, sql: str = "SELECT version();") -> str:
    """The answer of a database to one question."""
    if at["engine"] not in CLIENTS:
        raise NoAnswer(f"engine `{at['engine']}` is none of {', '.join(CLIENTS)}")
    client, package = CLIENTS[at["engine"]]
    if shutil.which(client) is None:
        raise ClientMissing(f"`{client}` is not here: apt-get install {package}")
    if at["engine"] == "postgresql":
        command = [client, "-XAtqw", "-h", at["host"], "-p", at["port"], "-U", at["user"], "-d", at["name"], "-c", sql]
    else:
        command = [client, "--no-defaults", "-BN", f"--connect-timeout={LIMIT_S}", "--protocol=tcp", "-h", at["host"], "-P", at["port"],
                   "-u", at["user"], "-e", sql, at["name"]]  # fmt: skip
    env = {**os.environ, "PGPASSWORD": password, "MYSQL_PWD": password, "PGCONNECT_TIMEOUT": str(LIMIT_S)}
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S + 1, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer in {LIMIT_S + 1} s: is it stopped, or is something else listening there?") from None
    if done.returncode != 0:
        raise NoAnswer(explained(done.stderr.strip().replace("\n", " ") or f"exit {done.returncode}"))
    return done.stdout.strip()


def explained(said: str) -> str:
    """What a client said, with what helps."""
    low = said.lower()
    if "password authentication failed" in low or "access denied" in low:
        return f"{said}; check DB_USER and DB_PASSWORD"
    if "refused" in low or "can't connect" in low:
        return f"{said}; is it started? `iact up postgres mariadb`"
    if "timeout" in low or "lost connection" in low:
        return f"{said}; is it stopped, or is something else listening there?"
    return said


def http_json(url: str) -> dict:
    """The JSON object at an address, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=3 * LIMIT_S) as answer:
            text = answer.read(1 << 20)
    except urllib.error.HTTPError as refused:
        text = refused.read(1 << 20)
    except (OSError, ValueError) as failed:
        raise NoAnswer(f"{url}: {getattr(failed, 'reason', failed)}") from None
    try:
        found = json.loads(text)
    except ValueError:
        raise NoAnswer(f"{url} answers, but not with JSON") from None
    if not isinstance(found, dict):
        raise NoAnswer(f"{url} answers with JSON, but not with an object")
    return found


def took_ms(since: float) -> int:
    return round((time.monotonic() - since) * 1000)
