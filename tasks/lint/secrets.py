#!/usr/bin/env python3
"""Looks for secrets in files with detect-secrets, and tells where one is, never what it is.

    secrets.py FILE...       exit 1 if one of them seems to hold a secret

A line that only looks like one carries `# pragma: allowlist secret`. Files of tests are left out: what they hold is made up.
Needs the packages of tasks/python/lint.txt.
"""

import pathlib
import sys

from detect_secrets.core import scan
from detect_secrets.settings import transient_settings

PLUGINS = [
    {"name": name}
    for name in (
        "AWSKeyDetector",
        "AzureStorageKeyDetector",
        "BasicAuthDetector",
        "GitHubTokenDetector",
        "GitLabTokenDetector",
        "JwtTokenDetector",
        "KeywordDetector",
        "NpmDetector",
        "OpenAIDetector",
        "PrivateKeyDetector",
        "PypiTokenDetector",
        "SlackDetector",
        "StripeDetector",
    )
]
FILTERS = [
    {"path": f"detect_secrets.filters.{name}"}
    for name in (
        "allowlist.is_line_allowlisted",
        "heuristic.is_indirect_reference",
        "heuristic.is_not_alphanumeric_string",
        "heuristic.is_potential_uuid",
        "heuristic.is_prefixed_with_dollar_sign",
        "heuristic.is_sequential_string",
        "heuristic.is_templated_secret",
    )
]


def is_test(path: pathlib.PurePath) -> bool:
    name = path.name
    return "tests" in path.parts or name.startswith(("test_", "selftest")) or name.endswith("_test.py")


def main(names: list) -> int:
    if not names:
        print("usage: secrets.py FILE...", file=sys.stderr)
        return 2
    found = 0
    with transient_settings({"plugins_used": PLUGINS, "filters_used": FILTERS}):
        for name in names:
            if is_test(pathlib.PurePath(name)):
                continue
            for secret in scan.scan_file(name):
                found += 1
                print(f"{name}:{secret.line_number}: seems to hold a secret ({secret.type})", file=sys.stderr)
    if found:
        print("hint: move it to the environment or .env, or mark the line `# pragma: allowlist secret`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
