#!/usr/bin/env python3
"""The four keys of DORA, from the history of deployments, the history of runs and git.

    dora.py WORKSPACE ROOT ENVIRONMENT [--days N | --start DATE [--end DATE]] [--format text|json] [--output FILE]

ROOT    folder of all environments (empty: ~/.local/state/callcentersite); ROOT/ENVIRONMENT/history.jsonl is what
        deployments and rollbacks leave. A run of `deploy-ENVIRONMENT` that left nothing there (refused, killed, or
        deployed by other means) counts by how it ended.
--days  the window up to now, 30 days by default; or dates as 2026-01-31, in UTC, --end included

A deployment failed if it did not become live, or was rolled back before the next one. Lead time is from a commit's
author date to the first successful deployment after it was committed, the median over all commits of HEAD with such a
deployment in the window. Time to restore is the mean from the begin of what failed to when the old release served
again, by itself or by rollback, or a new one. What there is no data for is `none`, never good.
"""

import argparse
import bisect
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from history import runs

HOUR, DAY = 3600.0, 86_400.0
LEVELS = ["elite", "high", "medium", "low"]


def told(path):
    """What an environment's history tells: (end_s, took_s, action, is live, served before)."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return
    strange = 0
    for line in lines:
        try:
            one = json.loads(line)
            at_s = datetime.fromisoformat(one["at"]).timestamp()
            yield at_s, float(one["seconds"]), one["action"], one["outcome"] == "live", bool(one["before"])
        except (ValueError, KeyError, TypeError):
            strange += 1
    if strange:
        print(f"dora.py: warning: {strange} lines of {path} cannot be read and do not count", file=sys.stderr)


def untold(history, target, known):
    """Runs of the target during which nothing was added to the environment's history."""
    ends_s = sorted(event[0] for event in known)
    for run in history:
        end_s = run["unix_ms"] / 1000
        for end in run["targets"]:
            # The environment's history has whole seconds.
            began_s = end_s - run.get("duration_ms", end["duration_ms"]) / 1000 - 1
            at = bisect.bisect_left(ends_s, began_s)
            if end["target"] == target and not (at < len(ends_s) and ends_s[at] <= end_s + 1):
                yield end_s, end["duration_ms"] / 1000, "deploy", end["outcome"] == "executed", True


def deployments(events):
    """What was deployed: when, whether it held, and when the service was whole again."""
    found = []
    for at_s, took_s, action, is_live, served_before in sorted(events):
        if action == "deploy" and is_live:
            found.append({"end_s": at_s, "held": True, "restored_s": None})
        elif action == "deploy":
            found.append({"end_s": at_s - took_s, "held": False, "restored_s": at_s if served_before else None})
        elif action == "rollback" and is_live and found and found[-1]["held"]:
            found[-1] |= {"held": False, "restored_s": at_s}
    whole_s = None
    for one in reversed(found):
        if one["held"]:
            whole_s = one["end_s"]
        elif one["restored_s"] is None:
            one["restored_s"] = whole_s
    return found


def commits(workspace):
    """Author's and committer's time of every commit of HEAD; none without a repository."""
    command = ["git", "-C", str(workspace), "log", "--no-merges", "--format=%at %ct", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"dora.py: warning: no lead time: {done.stderr.strip()}", file=sys.stderr)
        return []
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def lead_times(deployed, written, window):
    """Seconds from each commit to the first deployment in the window that has it."""
    held = sorted(one["end_s"] for one in deployed if one["held"])
    found = []
    for authored_s, committed_s in written:
        at = bisect.bisect_left(held, committed_s)
        if at < len(held) and window[0] <= held[at] < window[1]:
            found.append(max(0.0, held[at] - authored_s))
    return found


def level(value, bounds):
    """Which of the four levels; bounds are the worst values of the first three."""
    return (
        "none" if value is None else next((name for name, bound in zip(LEVELS, bounds, strict=False) if value <= bound), "low")
    )


def keys(deployed, written, window):
    """The four keys with their levels."""
    mine = [one for one in deployed if window[0] <= one["end_s"] < window[1]]
    held = [one for one in mine if one["held"]]
    days = max((window[1] - window[0]) / DAY, 1e-9)
    per_day = len(held) / days if mine else None
    lead = lead_times(deployed, written, window)
    lead_s = statistics.median(lead) if lead else None
    failed = 1 - len(held) / len(mine) if mine else None
    restored = [one["restored_s"] - one["end_s"] for one in mine if not one["held"] and one["restored_s"]]
    restore_s = statistics.mean(restored) if restored else None
    pause = None if per_day is None else 1 / per_day if per_day else float("inf")
    return {
        "deployments": len(mine),
        "deployment_frequency": {"per_day": per_day, "level": level(pause, [1, 7, 30])},
        "lead_time": {"median_s": lead_s, "commits": len(lead), "level": level(lead_s, [HOUR, 7 * DAY, 30 * DAY])},
        "change_failure_rate": {"share": failed, "level": level(failed, [0.15, 0.30, 0.45])},
        "time_to_restore": {
            "mean_s": restore_s,
            "restored": len(restored),
            "down": sum(1 for one in mine if not one["held"] and one["restored_s"] is None),
            "level": level(restore_s, [HOUR, DAY, 7 * DAY]),
        },
    }


def span(seconds):
    for unit, name in [(DAY, "d"), (HOUR, "h"), (60.0, "min")]:
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def text(document):
    def shown(value, say):
        return "no data" if value is None else say(value)

    frequency, lead = document["deployment_frequency"], document["lead_time"]
    failures, restore = document["change_failure_rate"], document["time_to_restore"]
    rows = [
        ("KEY", "VALUE", "LEVEL", "TARGET"),
        ("deployment frequency", shown(frequency["per_day"], lambda v: f"{v:.2f} a day"), frequency["level"], "> 1 a day"),
        ("lead time", shown(lead["median_s"], span), lead["level"], "< 1 d"),
        ("change failure rate", shown(failures["share"], lambda v: f"{v:.0%}"), failures["level"], "< 15%"),
        ("time to restore", shown(restore["mean_s"], span), restore["level"], "< 1 h"),
    ]
    lines = [f"{document['environment']}: {document['deployments']} deployments from {document['start']} to {document['end']}"]
    lines += ["{:<22} {:<14} {:<8} {}".format(*row) for row in rows]
    if restore["down"]:
        lines.append(f"{restore['down']} failed deployments are not recovered")
    return "\n".join(lines) + "\n"


def window_of(arguments, now_s):
    def day(written):
        return datetime.strptime(written, "%Y-%m-%d").replace(tzinfo=UTC)

    end_s = (day(arguments.end) + timedelta(days=1)).timestamp() if arguments.end else now_s
    start_s = day(arguments.start).timestamp() if arguments.start else end_s - arguments.days * DAY
    if start_s >= end_s:
        raise ValueError("the window ends before it starts")
    return start_s, end_s


def main(words):
    parser = argparse.ArgumentParser(prog="dora.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("root")
    parser.add_argument("environment")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--start")
    parser.add_argument("--end")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(words)
    try:
        window = window_of(arguments, time.time())
    except ValueError as error:
        parser.error(str(error))
    history, strange = runs(arguments.workspace)
    if strange:
        print(f"dora.py: warning: {strange} lines of .iact/runs cannot be read and do not count", file=sys.stderr)
    root = Path(arguments.root or Path.home() / ".local/state/callcentersite")
    known = list(told(root / arguments.environment / "history.jsonl"))
    deployed = deployments([*known, *untold(history, f"deploy-{arguments.environment}", known)])
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC") for at in window)
    document = {"schema": 1, "environment": arguments.environment, "start": start, "end": end} | keys(
        deployed, commits(arguments.workspace), window
    )
    as_json = json.dumps(document, indent=2) + "\n"
    print(as_json if arguments.format == "json" else text(document), end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        partial = arguments.output.with_name(f".{arguments.output.name}.partial")
        partial.write_text(as_json)
        partial.replace(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
