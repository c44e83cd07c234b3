#!/usr/bin/env bash
# In the development container, once: proves the interpreter and makes the virtual environment ~/.venv with what
# requirements.txt pins. Calling it again changes nothing if that file has not changed.
#
#   create.sh [VENV]
#
# Needs the built CPython first on PATH, and a package index if there are requirements.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)

if (($# > 1)); then
    echo "usage: create.sh [VENV]" >&2
    exit 2
fi
venv=${1-$HOME/.venv} requirements=$root/tasks/python/requirements.txt
python=$(command -v python3 || true)
if [[ -z $python ]] || ! "$python" -BIc 'import ssl, sqlite3, uuid, lzma, bz2, zlib, ctypes'; then
    echo "create.sh: no complete Python on PATH; build the container anew after \`iact build cpython-build\`" >&2
    exit 1
fi
"$python" --version
wanted=$("$python" --version; sha256sum <"$requirements")
if [[ -x $venv/bin/python && $(cat -- "$venv/.made-from" 2>/dev/null) == "$wanted" ]]; then
    echo "$venv is up to date"
    exit 0
fi
"$root/tasks/python/venv.sh" "$python" "$venv" "$requirements"
printf '%s\n' "$wanted" >"$venv/.made-from"
