#!/usr/bin/env python3
"""Do both databases let the application in and answer it?

    services.py [--dry-run]

Where they are and who asks is in the site's variables (ANALYTICS_DB_ENGINE, _HOST, _PORT, _NAME, IVR_DB_…, DB_USER, DB_PASSWORD).
Exit 0: both do. 1: one does not. 2: a client program or the password is missing, so nobody knows. --dry-run tells what it would ask.
"""

import os
import sys
import time

from probe import ClientMissing, NoAnswer, database, endpoints, took_ms


def main(words: list[str]) -> int:
    if words not in ([], ["--dry-run"]):
        print("usage: services.py [--dry-run]", file=sys.stderr)
        return 2
    password = os.environ.get("DB_PASSWORD", "")
    if not words and not password:
        print("services.py: `DB_PASSWORD` is not set: put it into the environment or into `.env`", file=sys.stderr)
        return 2
    worst = 0
    for at in endpoints():
        where = f"{at['name']} ({at['engine']} on {at['host']}:{at['port']} as {at['user']})"
        if words:
            print(f"would ask {where}")
            continue
        started = time.monotonic()
        try:
            version = database(at, password)
            print(f"ok    {where}: {version.split(' on ')[0]}, {took_ms(started)} ms")
        except NoAnswer as failure:
            print(f"fail  {where}: {failure}", file=sys.stderr)
            worst = 1
        except ClientMissing as missing:
            print(f"fail  {where}: {missing}", file=sys.stderr)
            worst = worst or 2
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
