#!/usr/bin/env python3
"""Finds what a Django migration may destroy, by reading it: nothing is imported or run.

    dangerous.py FILE…

Dangerous are RemoveField, DeleteModel, RenameField, RenameModel, an AlterField or AddField that makes a column NOT NULL without
a default, and RunSQL or RunPython that cannot be taken back. A file that has to do such a thing says so itself, in a comment line
`# DANGEROUS_MIGRATION_APPROVED`; that holds for this file only. Exit 1 if anything was found, 2 if a file cannot be read.
"""

import ast
import sys
from collections.abc import Iterator

APPROVAL = "# DANGEROUS_MIGRATION_APPROVED"
ALWAYS = {
    "RemoveField": "a column goes with what is in it",
    "DeleteModel": "a table goes with what is in it",
    "RenameField": "the release that still runs asks for the old name",
    "RenameModel": "the release that still runs asks for the old name",
}
REVERSE = {"RunSQL": "reverse_sql", "RunPython": "reverse_code"}


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def argument(call: ast.Call, keyword: str, position: int) -> ast.expr | None:
    for given in call.keywords:
        if given.arg == keyword:
            return given.value
    return call.args[position] if position < len(call.args) else None


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def danger(call: ast.Call) -> str | None:
    """Why one operation is dangerous, or nothing."""
    operation = name_of(call)
    if operation in ALWAYS:
        return ALWAYS[operation]
    if operation in REVERSE and argument(call, REVERSE[operation], 1) is None:
        return f"cannot be taken back without {REVERSE[operation]}"
    if operation in ("AddField", "AlterField"):
        field = argument(call, "field", 2)
        if not isinstance(field, ast.Call):
            return "the field cannot be read here"
        given = {keyword.arg: keyword.value for keyword in field.keywords}
        if name_of(field) == "ManyToManyField" or is_true(given.get("null")):
            return None
        if operation == "AlterField":
            return "the column may become NOT NULL, and rows without a value stop it"
        if not {"default", "db_default"} & given.keys():
            return "NOT NULL without a default: a table with rows refuses it"
    return None


def findings(source: str) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (why := danger(node)):
            yield node.lineno, name_of(node), why


def main(paths: list[str]) -> int:
    if not paths:
        print("usage: dangerous.py FILE…", file=sys.stderr)
        return 2
    found = 0
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                source = file.read()
            dangers = sorted(findings(source))
        except (OSError, SyntaxError, ValueError) as unreadable:
            print(f"dangerous.py: {path}: {unreadable}", file=sys.stderr)
            return 2
        approved = any(line.strip() == APPROVAL for line in source.splitlines())
        for line, operation, why in dangers:
            print(f"{path}:{line}: {operation}: {why}{' (approved)' if approved else ''}", file=sys.stderr)
        found += 0 if approved else len(dangers)
    if found:
        print(f"dangerous.py: if it is meant, the file says so in a line of its own: {APPROVAL}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
