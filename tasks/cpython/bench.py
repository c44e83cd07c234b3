#!/usr/bin/env python3
"""Races a packed CPython against another interpreter: a table of times and ratios, and the same as JSON.

    bench.py ARCHIVE BASELINE RESULT

ARCHIVE   …/cpython-X.Y.Z-DISTRO-buildN.tgz; unpacked into a scratch folder
BASELINE  an interpreter to compare with, as `python3`
RESULT    a JSON file, written whole or not at all

The two take turns, so that whatever else the machine does hits both, and the best of all turns counts. A ratio above
1 means that the packed one is faster. If the two compute different things, that is a failure. Needs tar.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workloads import WORKLOADS

TURNS, REPEATS, STARTS = 4, 3, 8
HERE = Path(__file__).resolve().parent
ALONE = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


class Wrong(Exception):
    """What keeps it from being measured."""


def run(python, *arguments):
    done = subprocess.run([python, *arguments], capture_output=True, text=True, env=ALONE)
    if done.returncode != 0:
        raise Wrong(f"{python} {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def unpacked(archive, folder):
    """The interpreter of an archive, in FOLDER."""
    parts = re.match(r"cpython-((\d+\.\d+)\.\d+)-", archive.name)
    if not parts:
        raise Wrong(f"`{archive.name}` is not cpython-X.Y.Z-….tgz")
    done = subprocess.run(["tar", "-xzf", archive, "-C", folder], capture_output=True, text=True)
    if done.returncode != 0:
        raise Wrong(f"cannot unpack {archive}: {done.stderr.strip()}; build it first: iact build cpython-build")
    return f"{folder}/python-{parts[1]}/bin/python{parts[2]}"


def start_up(python):
    begin = time.perf_counter()
    run(python, "-I", "-c", "")
    return time.perf_counter() - begin


def measure(pythons):
    """Best times of each workload, in seconds, one for each interpreter."""
    rows = {work.__name__: [math.inf] * len(pythons) for work in WORKLOADS}
    results = {}
    for _ in range(TURNS):
        for name, times in rows.items():
            for at, python in enumerate(pythons):
                best, result = run(python, "-I", "-B", str(HERE / "workloads.py"), name, str(REPEATS)).split()
                times[at] = min(times[at], float(best))
                if results.setdefault(name, result) != result:
                    raise Wrong(f"{python} computes another result of `{name}`")
    rows["start-up"] = [math.inf] * len(pythons)
    for _ in range(STARTS):
        for at, python in enumerate(pythons):
            rows["start-up"][at] = min(rows["start-up"][at], start_up(python))
    return rows


def report(rows, versions):
    ratios = [base / ours for base, ours in rows.values()]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"{'BENCHMARK':<12} {versions[0]:>10} {versions[1]:>10} {'RATIO':>7}")
    for (name, (base, ours)), ratio in zip(rows.items(), ratios, strict=True):
        print(f"{name:<12} {base * 1e3:>7.1f} ms {ours * 1e3:>7.1f} ms {ratio:>6.2f}x")
    print(f"{'mean':<12} {'':>10} {'':>10} {mean:>6.2f}x")
    return mean


def main(arguments):
    if len(arguments) != 3:
        print("usage: bench.py ARCHIVE BASELINE RESULT", file=sys.stderr)
        return 2
    archive, result = Path(arguments[0]), Path(arguments[2])
    baseline = shutil.which(arguments[1])
    try:
        if not baseline:
            raise Wrong(f"no `{arguments[1]}` on PATH; name another interpreter: bench_against=…")
        with tempfile.TemporaryDirectory(prefix="cpython-bench.") as folder:
            # Shims that pick a version by the environment are asked once.
            baseline = run(baseline, "-c", "import sys; print(sys.executable)").strip()
            pythons = [baseline, unpacked(archive, folder)]
            versions = [run(python, "-c", "import platform; print(platform.python_version())").strip() for python in pythons]
            rows = measure(pythons)
            flags = run(pythons[1], "-c", "import sysconfig; print(sysconfig.get_config_var('CONFIG_ARGS'))").strip()
    except Wrong as why:
        print(f"bench.py: {why}", file=sys.stderr)
        return 1
    mean = report(rows, versions)
    table = {name: {"baseline_s": base, "ours_s": ours, "ratio": base / ours} for name, (base, ours) in rows.items()}
    document = {"schema": 1, "archive": archive.name, "baseline": versions[0], "ours": versions[1], "configure": flags}
    result.parent.mkdir(parents=True, exist_ok=True)
    partial = result.with_name(f"{result.name}.partial.{os.getpid()}")
    partial.write_text(json.dumps(document | {"mean_ratio": mean, "benchmarks": table}, indent=2) + "\n")
    partial.rename(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
