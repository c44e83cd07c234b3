"""Takes secrets out of text: the known ones by their value, in any of the forms they travel in, and others by their looks.

A value counts as known if it belongs to a variable of the environment or of `.env` whose name says so, or is named on its own.
Words of fewer than six letters are too common to be masked by their value.
"""

import base64
import json
import os
import re
import urllib.parse

MASK = "***"
SHORTEST = 6
NAMES = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|COOKIE|DSN|DATABASE_URL|PRIVATE|WEBHOOK", re.I)
HARMLESS = {"PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY"}

LOOKS = [
    # what follows such a name, in a shell, in YAML, in JSON, in a URL
    (
        re.compile(
            r"""((?:[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[\w.-]*)"""
            r"""["']?\s*[:=]\s*)("[^"\n]*"|'[^'\n]*'|[^\s"'&,;]+)""",
            re.I,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.S), rf"\1{MASK}\2"),
    (re.compile(r"AGE-SECRET-KEY-1[A-Z0-9]+"), MASK),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.I), rf"\1{MASK}@"),
    (
        re.compile(r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?)[^\s\"']+", re.I),
        rf"\1{MASK}",
    ),
    (re.compile(r"((?:set-)?cookie[\"']?\s*[:=]\s*)[^\n]+", re.I), rf"\1{MASK}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (
        re.compile(
            r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}|\bglpat-[\w-]{15,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}"
        ),
        MASK,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), MASK),
    (re.compile(r"(\s(?:--password[ =]|-p)(?=\S))\S+"), rf"\1{MASK}"),
    (re.compile(r"(IDENTIFIED\s+BY\s+|PASSWORD\s+)'[^']*'", re.I), rf"\1'{MASK}'"),
]


def env_file(path):
    """The variables of a `.env` file; none if there is none."""
    try:
        with open(path, errors="replace") as file:
            lines = [line.strip().removeprefix("export ") for line in file]
    except OSError:
        return {}
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def known_secrets(environment, dotenv):
    """The values to mask: all of `.env`, and of the environment what is called like one."""
    values = set(dotenv.values())
    values |= {value for name, value in environment.items() if NAMES.search(name) and name not in HARMLESS}
    for value in list(values):  # of a URL with a password, the password
        match = re.match(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:([^@/]+)@", value, re.I)
        if match:
            values |= {match.group(1), urllib.parse.unquote(match.group(1))}
        values |= {line.strip() for line in value.splitlines()}
    return {value for value in values if len(value) >= SHORTEST}


def forms(value):
    """The value as it may stand in a log: plain, quoted for a URL or JSON, in hexadecimal, in base64 at any offset."""
    data = value.encode(errors="surrogateescape")
    found = {value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), json.dumps(value)[1:-1], data.hex()}
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + data).decode()
        # The letters at both ends depend on the neighbours.
        text = text[[0, 2, 3][offset] :].rstrip("=")
        text = text[: len(text) - (1 if (len(data) + offset) % 3 else 0)]
        found |= {text, text.replace("+", "-").replace("/", "_")}
    return {form for form in found if len(form) >= SHORTEST}


class Redactor:
    """Masks, and afterwards tells whether anything known is left."""

    def __init__(self, values):
        every = sorted({form for value in values for form in forms(value)}, key=len, reverse=True)
        self.known = re.compile("|".join(map(re.escape, every)), re.I) if every else None

    def mask(self, text):
        if self.known:
            text = self.known.sub(MASK, text)
        for look, instead in LOOKS:
            text = look.sub(instead, text)
        return text

    def finds(self, text):
        return bool(self.known and self.known.search(text))


def redactor(folder):
    """For what is known here: the process's environment and the folder's `.env` files."""
    dotenv = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith(".env") and not name.endswith((".example", ".sample")):
            dotenv |= env_file(os.path.join(folder, name))
    return Redactor(known_secrets(os.environ, dotenv))
