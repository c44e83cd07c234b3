#!/usr/bin/env python3
"""Counts the tests of the pyramid from their JUnit reports.

    pyramid.py FOLDER PART...

PART is what runs on this machine, of unit, integration and e2e; a report of another part is of another day, and does not count.
Reports are named unit-….xml, integration-….xml and e2e.xml; of integration tests, which run once for each engine, the larger report counts.
Under half of unit tests is a failure (exit 1); integration outside 20 to 40 % and more than 20 % of e2e are warnings. What does not run
here is told and not judged.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TARGET = {"unit": 60, "integration": 30, "e2e": 10}


def tests(report: Path) -> int:
    return len(ElementTree.parse(report).getroot().findall(".//testcase"))  # nosec B314: our own tests wrote it


def main(words: list[str]) -> int:
    if len(words) < 2 or not set(words[1:]) <= set(TARGET):
        print("usage: pyramid.py FOLDER PART..., of unit, integration and e2e", file=sys.stderr)
        return 2
    counts = {}
    for part in words[1:]:
        found = [tests(report) for report in Path(words[0]).glob(f"{part}*.xml")]
        if found:
            counts[part] = max(found) if part == "integration" else sum(found)
    total = sum(counts.values())
    if "unit" not in counts or not total:
        print(f"pyramid.py: no unit tests reported in {words[0]}", file=sys.stderr)
        return 1
    share = {part: 100 * count / total for part, count in counts.items()}
    for part, target in TARGET.items():
        says = f"{counts[part]:4} tests, {share[part]:3.0f} % (target {target} %)" if part in counts else "   not run here"
        print(f"{part:<12}{says}")
    if len(counts) == len(TARGET) and not 20 <= share["integration"] <= 40:
        print(f"warn: integration tests are {share['integration']:.0f} %, 20 to 40 are wanted")
    if share.get("e2e", 0) > 20:
        print(f"warn: e2e tests are {share['e2e']:.0f} %, at most 20 are wanted")
    if share["unit"] < 50:
        print(f"pyramid.py: unit tests are {share['unit']:.0f} %, at least 50 are wanted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
