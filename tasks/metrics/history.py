"""The runs of a workspace, as iact keeps them in `.iact/runs` (and `.iact/runs.old` before it)."""

import json


def runs(workspace):
    """All runs, the oldest first; how many lines were no run (torn, or of another schema)."""
    found, strange = [], 0
    for name in ["runs.old", "runs"]:
        try:
            lines = (workspace / ".iact" / name).read_bytes().splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            try:
                run = json.loads(line)
                if run["schema"] != 1 or not isinstance(run["unix_ms"], int) or not isinstance(run["targets"], list):
                    raise ValueError(line)
                found.append(run)
            except (ValueError, KeyError, TypeError):
                strange += 1
    return sorted(found, key=lambda run: run["unix_ms"]), strange
