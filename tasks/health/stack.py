#!/usr/bin/env python3
"""The health of the running site, in seven checks, each with its own weight.

    stack.py [--json]

    1 services   how many of site and databases take a connection (fail)
    2 databases  both let the application in and answer, by their own protocols (fail)
    3 site       GET /healthz answers {"ok": true} (fail)
    4 log        no "error" in the last ten lines of the site's log, $APP_LOG (warn)
    5 model      the provider of language models at $OLLAMA_HOST tells its version (warn; skipped if there is none)
    6 memory     what is left of the machine's (info)
    7 network    the site itself reaches both databases: GET /api/health (fail)

The site is at $APP_HOST:$APP_PORT, the databases where the site's own variables say. Exit 0: nothing failed, 1: something did, 2: a
client program or a variable is missing. A warning never changes that.
"""

import json
import os
import socket
import sys
from collections import deque

from probe import NoAnswer, database, endpoints, http_json
from verdict import Check, Skipped, tell

APP = (os.environ.get("APP_HOST") or "127.0.0.1", os.environ.get("APP_PORT") or "8000")
URL = f"http://{APP[0]}:{APP[1]}"


def services() -> str:
    places = [APP, *((at["host"], at["port"]) for at in endpoints())]
    silent = []
    for host, port in places:
        try:
            socket.create_connection((host, int(port)), timeout=3).close()
        except OSError as refused:
            silent.append(f"{host}:{port} ({refused.strerror or refused})")
    running = f"{len(places) - len(silent)}/{len(places)} running"
    if silent:
        raise NoAnswer(f"{running}; nobody at {', '.join(silent)}: `iact up app` starts them")
    return running


def databases() -> str:
    said = []
    for at in endpoints():
        try:
            said.append(f"{at['name']}: {database(at, os.environ['DB_PASSWORD']).split(' on ')[0]}")
        except NoAnswer as failure:
            raise NoAnswer(f"{at['name']}: {failure}") from None
    return ", ".join(said)


def site() -> str:
    found = http_json(f"{URL}/healthz")
    if found.get("ok") is not True:
        raise NoAnswer(f"{URL}/healthz says {json.dumps(found)}")
    return f"release {found.get('release', 'unknown')}"


def log() -> str:
    path = os.environ.get("APP_LOG")
    if not path:
        raise Skipped("APP_LOG names no file")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            last = deque(file, maxlen=10)
    except OSError as unreadable:
        raise NoAnswer(f"{path}: {unreadable.strerror}") from None
    if bad := [line.strip() for line in last if "error" in line.lower()]:
        raise NoAnswer(f"{len(bad)} of the last {len(last)} lines: {bad[-1][:200]}")
    return f"no error in the last {len(last)} lines"


def model() -> str:
    host = os.environ.get("OLLAMA_HOST")
    if not host:
        raise Skipped("OLLAMA_HOST is not set")
    return f"version {http_json(f'http://{host}/api/version').get('version', 'unknown')}"


def memory() -> str:
    with open("/proc/meminfo", encoding="ascii") as file:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return f"{kib['MemAvailable'] >> 10} MiB of {kib['MemTotal'] >> 10} MiB available"


def network() -> str:
    found = http_json(f"{URL}/api/health")
    asked = found.get("databases", [])
    sick = [f"{one.get('name')} ({one.get('error', 'not ok')})" for one in asked if not one.get("ok")]
    if found.get("ok") is not True or sick or len(asked) != 2:
        raise NoAnswer(f"the site does not reach {', '.join(sick) or 'its databases'}")
    return ", ".join(f"{one['name']} in {one['ms']} ms" for one in asked)


CHECKS: list[Check] = [
    ("services", "fail", services),
    ("databases", "fail", databases),
    ("site", "fail", site),
    ("log", "warn", log),
    ("model", "warn", model),
    ("memory", "info", memory),
    ("network", "fail", network),
]


def main(words: list[str]) -> int:
    if words not in ([], ["--json"]):
        print("usage: stack.py [--json]", file=sys.stderr)
        return 2
    if not os.environ.get("DB_PASSWORD"):
        print("stack.py: `DB_PASSWORD` is not set: put it into the environment or into `.env`", file=sys.stderr)
        return 2
    return tell(CHECKS, as_json=bool(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
