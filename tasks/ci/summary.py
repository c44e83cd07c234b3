#!/usr/bin/env python3
"""Writes what a run has come to so far as a Markdown table, for a wiki, a chat or an issue.

    summary.py OUT       reads the run from the file $IACT_SUMMARY names (a cleanup of iact has it)

One row per target, failures first: what became of it, what it took, what a restored result saved, and why. Commands'
output is not in it. Needs Python 3.11.
"""

import json
import os
import pathlib
import sys

ORDER = ["failed", "cancelled", "skipped", "executed", "cached", "up_to_date"]


def duration(ms: int) -> str:
    seconds = ms / 1000
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def why(row: dict) -> str:
    reason = row.get("reason") or {}
    detail = next((str(reason[key]) for key in ("path", "name", "tool", "target") if key in reason), "")
    told = f"{reason.get('kind', '').replace('_', ' ')} {detail}".strip()
    return row.get("message") or (f"exit {row['exit_code']}" if row["outcome"] == "failed" else told)


def table(rows: list) -> str:
    targets = {}
    for row in rows:
        targets.setdefault(row["target"].partition("[")[0], []).append(row)
    lines = ["| target | outcome | took | saved | why |", "|---|---|--:|--:|---|"]
    for name, group in sorted(targets.items(), key=lambda item: min(ORDER.index(row["outcome"]) for row in item[1])):
        outcomes = [row["outcome"] for row in group]
        counts = [(outcomes.count(outcome), outcome.replace("_", " ")) for outcome in ORDER if outcome in outcomes]
        what = counts[0][1] if len(group) == 1 else ", ".join(f"{count} {outcome}" for count, outcome in counts)
        saved = sum(row.get("saved_ms", 0) for row in group)
        first = min(group, key=lambda row: ORDER.index(row["outcome"]))
        took = duration(max(row["duration_ms"] for row in group))
        lines.append(f"| {cell(name)} | {what} | {took} | {duration(saved) if saved else ''} | {cell(why(first))} |")
    return "\n".join(lines) + "\n"


def main(words: list) -> int:
    told = os.environ.get("IACT_SUMMARY")
    if len(words) != 1 or not told:
        print("usage: summary.py OUT, with IACT_SUMMARY set, as iact does for cleanups", file=sys.stderr)
        return 2
    run = json.loads(pathlib.Path(told).read_text(encoding="utf-8"))
    counted = ", ".join(f"{run[outcome]} {outcome.replace('_', ' ')}" for outcome in ORDER if run.get(outcome))
    code = os.environ.get("IACT_EXIT_CODE", "0")
    head = f"# {'All well' if code == '0' else 'Failed'}: {counted}\n\nSaved by the cache: {duration(run['saved_ms'])}.\n\n"
    text = head + table(run["targets"])
    out = pathlib.Path(words[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{counted}; the table is in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
