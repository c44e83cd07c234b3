"""The site's own command line, `manage.py`, as migrations need it: no limit on how long a statement may take."""

import os
import re
import subprocess
import sys
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[2] / "examples" / "callcentersite" / "backend"


def manage(*words: str, **more: str) -> subprocess.CompletedProcess:
    """What `manage.py` said. Of an exception its message is passed on, not the way it came; all other errors as they are."""
    env = {**os.environ, "DB_TIMEOUT_S": "0", "PYTHONDONTWRITEBYTECODE": "1", **more}
    backend = Path(os.environ.get("SITE_BACKEND", BACKEND))
    said = subprocess.run(
        [sys.executable, backend / "manage.py", *words], cwd=backend, env=env, capture_output=True, text=True, check=False
    )
    print(message(said.stderr), end="", file=sys.stderr, flush=True)
    return said


def message(text: str) -> str:
    """The text without tracebacks, but with what the last of them ends in."""
    if "Traceback (most recent call last):" not in text:
        return text
    lines = text.splitlines(keepends=True)
    last = max((n for n, line in enumerate(lines) if re.match(r"[\w.]+(: |$)", line)), default=0)
    return "".join(lines[last:])
