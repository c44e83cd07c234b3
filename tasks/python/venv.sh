#!/usr/bin/env bash
# Makes a virtual environment from a given interpreter and a requirements file.
#
#   venv.sh PYTHON VENV REQUIREMENTS        makes VENV anew; needs a package index if there are requirements
#   venv.sh --check PYTHON VENV             succeeds if VENV was made by exactly that interpreter and is whole
#
# Requirements are pinned with their hashes (`pip --require-hashes`), so the same file means the same packages.
set -euo pipefail
export LC_ALL=C

# Bytecode is checked by content, not by time: using a restored environment changes nothing in it.
export SOURCE_DATE_EPOCH=1 PYTHONHASHSEED=0

if [[ ${1-} == --check && $# == 3 ]]; then
    # Asked at every build, so it starts nothing: the interpreter by which it was made, and a link that leads there.
    home=$(cd -- "${2%/*}" && pwd) found=
    while IFS=' =' read -r key value; do
        if [[ $key == home ]]; then found=$value; fi
    done 2>/dev/null <"$3/pyvenv.cfg" || true
    [[ $found == "$home" && -x $3/bin/python && -x $3/bin/pip ]] || {
        echo "venv.sh: $3 belongs to ${found:-nobody}, not to $home, or is not whole" >&2
        exit 1
    }
    exit 0
fi
if (($# != 3)); then
    echo "usage: venv.sh PYTHON VENV REQUIREMENTS | --check PYTHON VENV" >&2
    exit 2
fi
python=$1 venv=$2 requirements=$3
for file in "$python" "$requirements"; do
    [[ -f $file ]] || {
        echo "venv.sh: no such file: $file" >&2
        exit 2
    }
done

trap 'if (($? != 0)); then rm -rf -- "$venv"; fi' EXIT
"$python" -m venv --clear "$venv"
if grep -qE '^[[:space:]]*[^#[:space:]]' "$requirements"; then
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r "$requirements"
fi
"$venv/bin/python" -m pip --disable-pip-version-check check
"$venv/bin/python" --version
