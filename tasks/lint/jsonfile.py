#!/usr/bin/env python3
"""Parses JSON files, and JSON with comments where that is what the file is read as.

    jsonfile.py FILE...      exit 1 if one of them does not parse, holds a key twice, or a number JSON does not have

Comments and trailing commas are allowed in *.jsonc, devcontainer.json, tsconfig*.json, jsconfig*.json, *.code-workspace and
in .vscode; elsewhere they are mistakes. Needs Python 3.11, nothing else.
"""

import json
import pathlib
import re
import sys

# A string first, so that what looks like a comment in it stays.
TOKENS = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
TRAILING = re.compile(r'"(?:\\.|[^"\\\n])*"|,(?=\s*[\]}])', re.DOTALL)


def has_comments(path: pathlib.PurePath) -> bool:
    name = path.name
    named = name == "devcontainer.json" or re.fullmatch(r"[tj]sconfig.*\.json", name)
    return bool(named) or path.suffix in (".jsonc", ".code-workspace") or ".vscode" in path.parts


def blank(match: re.Match) -> str:
    """Strings stay; what goes leaves its line breaks, so that places in messages stay right."""
    text = match.group()
    return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)


def unique(pairs: list) -> dict:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{twice}` stands twice in one object")
    return keys


def no_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def parse(path: pathlib.Path):
    text = path.read_text(encoding="utf-8")
    if has_comments(path):
        text = TRAILING.sub(blank, TOKENS.sub(blank, text))
    return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)


def main(names: list) -> int:
    if not names:
        print("usage: jsonfile.py FILE...", file=sys.stderr)
        return 2
    wrong = 0
    for name in names:
        try:
            parse(pathlib.Path(name))
        except (ValueError, OSError) as error:
            place = f"{name}:{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else name
            message = error.msg if isinstance(error, json.JSONDecodeError) else error
            print(f"{place}: {message}", file=sys.stderr)
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
