"""Checks with a weight each, looked at one after the other, and what they come to.

A weight is what a check that does not hold counts as: `fail`, `warn`, or `info`, which counts nothing. Exit 0: nothing failed, 1: something
did, 2: a client program or a variable is missing.
"""

import json
from collections.abc import Callable, Iterable

from probe import ClientMissing, NoAnswer

# Its name, its weight, and how to look: what there is to say, or an exception.
Check = tuple[str, str, Callable[[], str]]


class Skipped(Exception):
    """There is nothing to look at, and why."""


class Warned(Exception):
    """It holds, but not for long: a warning whatever the check's weight."""


def look(weight: str, check: Callable[[], str]) -> tuple[str, str]:
    """The state of one check and what there is to say. No check ends the others."""
    try:
        return ("info" if weight == "info" else "ok"), check()
    except Skipped as why:
        return "skip", str(why)
    except Warned as why:
        return "warn", str(why)
    except ClientMissing as missing:
        return "missing", str(missing)
    except (NoAnswer, OSError, KeyError, ValueError) as failure:
        return weight, str(failure)


def tell(checks: Iterable[Check], *, as_json: bool) -> int:
    """Prints the state of every check; the exit code."""
    found = [(name, *look(weight, check)) for name, weight, check in checks]
    states = [state for _, state, _ in found]
    if as_json:
        rows = [dict(zip(("check", "state", "says"), f)) for f in found]
        print(json.dumps({"ok": not {"fail", "missing"} & set(states), "checks": rows}))
    else:
        for name, state, says in found:
            print(f"{state:<8}{name:<11}{says}")
    return 1 if "fail" in states else 2 if "missing" in states else 0
