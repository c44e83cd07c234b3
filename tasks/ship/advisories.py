#!/usr/bin/env python3
"""Asks for known vulnerabilities of pinned packages.

    advisories.py python PIP_AUDIT REQUIREMENTS...      by pip-audit, of what is pinned with hashes
    advisories.py npm FOLDER                            by npm audit, of its package-lock.json

Exit 1 names what is vulnerable. A package about which nothing could be learnt is a failure too (exit 3, `NOT SCANNED`): pip-audit itself
calls a vulnerable package fine if its service is out of reach, and npm has an exit code for both.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 300


def run(argv, folder=None):
    """What a scanner said. It starts a Python that would write bytecode beside its modules, which are an artifact."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        said = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        sys.exit(not_scanned(f"there is no {argv[0]} here"))
    except subprocess.TimeoutExpired:
        sys.exit(not_scanned(f"{Path(argv[0]).name} did not end in {TIMEOUT_S} s"))
    try:
        return json.loads(said.stdout)
    except ValueError:
        lines = (said.stderr or said.stdout).strip().splitlines()
        sys.exit(not_scanned(f"{Path(argv[0]).name} says no JSON: {lines[-1] if lines else 'nothing'}"))


def not_scanned(why):
    """A scanner without its data."""
    print(f"advisories.py: NOT SCANNED: {why}; are the advisories reachable from here?", file=sys.stderr)
    return 3


def python(audit, files):
    """Every pinned package of Python. Each file by itself: together they would pin some packages twice, which pip-audit refuses."""
    argv = [audit, "--format", "json", "--progress-spinner", "off", "--disable-pip", "--require-hashes", "-r"]
    each = [package for file in files for package in run([*argv, file])["dependencies"]]
    found = list({(package["name"], package.get("version")): package for package in each}.values())
    unknown = [package["name"] for package in found if "skip_reason" in package]
    bad = [(package, hole) for package in found for hole in package.get("vulns", [])]
    for package, hole in bad:
        mended = ", ".join(hole.get("fix_versions", [])) or "no version"
        print(f"FAIL {package['name']} {package['version']}: {hole['id']}, mended in {mended}", file=sys.stderr)
    if unknown or not found:
        names = ", ".join(unknown[:5]) + (" and more" if len(unknown) > 5 else "")
        return not_scanned(f"nothing could be learnt about {len(unknown)} of {len(found)} packages: {names}")
    print(f"{len(found)} packages, {len(bad)} known vulnerabilities")
    return 1 if bad else 0


def npm(folder):
    """Every locked package of npm: one critical vulnerability or more fails, and so do more than five high ones."""
    found = run(["npm", "audit", "--package-lock-only", "--json"], folder)
    if "metadata" not in found:
        return not_scanned(f"npm: {found.get('message') or found.get('error', {}).get('summary') or 'no answer'}")
    counts = found["metadata"]["vulnerabilities"]
    for name, package in found["vulnerabilities"].items():
        if package["severity"] in ("critical", "high"):
            print(f"{package['severity']}: {name} {package['range']}", file=sys.stderr)
    print(
        f"{found['metadata']['dependencies']['total']} packages; "
        + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    )
    return 1 if counts["critical"] or counts["high"] > 5 else 0


def main(argv):
    match argv:
        case ["python", audit, *files] if files:
            return python(os.path.abspath(audit), files)
        case ["npm", folder] if Path(folder, "package-lock.json").is_file():
            return npm(folder)
        case _:
            print("usage: advisories.py python PIP_AUDIT REQUIREMENTS... | npm FOLDER_WITH_A_LOCK_FILE", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
