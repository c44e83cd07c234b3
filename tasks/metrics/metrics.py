#!/usr/bin/env python3
"""What this workspace's runs came to, in Prometheus's text format, for node_exporter's textfile collector.

    metrics.py WORKSPACE OUTPUT

Counted over what `.iact/runs` still has. Without any run there is nothing to say about targets; the disk is told all
the same. OUTPUT is written whole or not at all, as the collector demands.
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

from history import runs

TOTALS = ["executed", "cached", "up_to_date", "failed", "skipped", "cancelled"]


def label(value):
    return '"' + value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def family(name, kind, told, samples):
    """One metric: its name, what it is, and a line for each of its labels."""
    lines = [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f"{key}={label(text)}" for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return lines


def of_runs(history):
    outcomes = Counter()
    saved_s = 0.0
    ok = Counter()
    for run in history:
        saved_s += run.get("saved_ms", 0) / 1000
        ok["ok" if run.get("ok") else "failed"] += 1
        outcomes.update({name: run.get(name, 0) for name in TOTALS})
    last = [({}, history[-1]["unix_ms"] / 1000)] if history else []
    yield family("iact_runs_total", "counter", "Runs that did something.", [({"result": key}, ok[key]) for key in sorted(ok)])
    yield family(
        "iact_actions_total", "counter", "Actions by how they ended.", [({"outcome": n}, outcomes[n]) for n in TOTALS]
    )
    yield family("iact_saved_seconds_total", "counter", "What restored results took when they were made.", [({}, saved_s)])
    yield family("iact_last_run_timestamp_seconds", "gauge", "When the last run ended.", last)


def of_targets(history):
    counts, duration_s, success_s, good = Counter(), {}, {}, {}
    for run in history:
        for end in run["targets"]:
            name, outcome = end["target"], end["outcome"]
            counts[name, outcome] += 1
            duration_s[name] = end["duration_ms"] / 1000
            good[name] = int(outcome == "executed")
            if outcome == "executed":
                success_s[name] = run["unix_ms"] / 1000
    by_outcome = [({"target": name, "outcome": outcome}, count) for (name, outcome), count in sorted(counts.items())]

    def each(values):
        return [({"target": name}, value) for name, value in sorted(values.items())]

    yield family("iact_target_runs_total", "counter", "How often a target's command ran, by its end.", by_outcome)
    yield family("iact_target_duration_seconds", "gauge", "What the last run of a target took.", each(duration_s))
    yield family("iact_target_last_ok", "gauge", "1 if the last run of a target succeeded.", each(good))
    name, told = "iact_target_last_success_timestamp_seconds", "When a target last ran well."
    yield family(name, "gauge", told, each(success_s))


def of_disk(workspace):
    usage = shutil.disk_usage(workspace)
    yield family("iact_disk_size_bytes", "gauge", "Size of the workspace's disk.", [({}, usage.total)])
    yield family("iact_disk_free_bytes", "gauge", "What is free of it.", [({}, usage.free)])


def main(words):
    if len(words) != 2:
        print("usage: metrics.py WORKSPACE OUTPUT", file=sys.stderr)
        return 2
    workspace, output = Path(words[0]), Path(words[1])
    history, strange = runs(workspace)
    if strange:
        print(f"metrics.py: warning: {strange} lines of .iact/runs cannot be read and do not count", file=sys.stderr)
    families = [*of_runs(history), *of_targets(history), *of_disk(workspace)]
    lines = [line for family_lines in families if len(family_lines) > 2 for line in family_lines]
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(output)
    print(f"{output}: {len(history)} runs, {sum(not line.startswith('#') for line in lines)} values")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
