#!/usr/bin/env bash
# Proves that a packed CPython is complete, undamaged and works from any folder. Names every failure, then exits 1.
#
#   validate.sh ARCHIVE [MIN_MB [MAX_MB]]
#
# ARCHIVE  …/cpython-X.Y.Z-DISTRO-buildN.tgz, with ARCHIVE.sha256 beside it; neither is changed
# MIN_MB   smaller than this is an error (default 8); MAX_MB larger than this a warning (default 150)
#
# The archive is unpacked into a scratch folder and runs there with an empty environment. Needs tar, gzip, ldd.
set -euo pipefail
export LC_ALL=C

usage() {
    echo "validate.sh: $1" >&2
    exit 2
}
(($# >= 1 && $# <= 3)) || usage "usage: validate.sh ARCHIVE [MIN_MB [MAX_MB]]"
archive=$1 min_mb=${2:-8} max_mb=${3:-150}
name=$(basename -- "$archive")
[[ $min_mb =~ ^[0-9]+$ && $max_mb =~ ^[0-9]+$ ]] || usage "sizes are whole megabytes, not \`$min_mb\`, \`$max_mb\`"
[[ $name =~ ^cpython-([0-9]+\.[0-9]+)\.([0-9]+)-([a-z0-9.]+)-build([0-9]+)\.tgz$ ]] ||
    usage "\`$name\` is not cpython-X.Y.Z-DISTRO-buildN.tgz"
short=${BASH_REMATCH[1]} version=${BASH_REMATCH[1]}.${BASH_REMATCH[2]} distro=${BASH_REMATCH[3]} build=${BASH_REMATCH[4]}

failures=0
fail() {
    echo "FAIL $1: $2" >&2
    failures=$((failures + 1))
}
warn() { echo "warning $1: $2" >&2; }
# finish: the verdict; also used where nothing further can be checked.
finish() {
    if ((failures > 0)); then
        echo "$name: $failures failed" >&2
        exit 1
    fi
    echo "$name: valid"
    exit 0
}

# The files: present, equal to their digest, of a likely size.
if [[ ! -f $archive ]]; then
    fail artifact "no such file: $archive"
    finish
fi
if [[ ! -f $archive.sha256 ]]; then
    fail sidecar "no such file: $archive.sha256"
elif ! [[ $(<"$archive.sha256") =~ ^([0-9a-f]{64})\ \ (.+)$ && ${BASH_REMATCH[2]} == "$name" ]]; then
    fail sidecar "not a SHA-256, two spaces and $name"
else
    actual=$(sha256sum <"$archive") actual=${actual%% *}
    [[ $actual == "${BASH_REMATCH[1]}" ]] || fail checksum "expected ${BASH_REMATCH[1]}, got $actual"
fi
megabytes=$(($(stat -c %s -- "$archive") / 1000000))
((megabytes >= min_mb)) || fail size "$megabytes MB, less than $min_mb MB"
((megabytes <= max_mb)) || warn size "$megabytes MB, more than $max_mb MB"
((failures == 0)) || finish # nothing runs out of an archive that is not what it should be

# The archive: whole, and nothing outside its one folder.
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
if ! tar -tzf "$archive" >"$work/members" 2>"$work/log"; then
    fail extract "$(head -n 1 "$work/log")"
    finish
fi
if outside=$(grep -m 1 -vE "^python-$version(/|\$)" "$work/members") || outside=$(grep -m 1 -E '(^|/)\.\.(/|$)' "$work/members"); then
    fail layout "\`$outside\` is not below python-$version/"
    finish
fi
mkdir "$work/moved here"
if ! tar -xzf "$archive" -C "$work/moved here" 2>"$work/log"; then
    fail extract "$(head -n 1 "$work/log")"
    finish
fi
root="$work/moved here/python-$version"
python=$root/bin/python$short
alone() { env -i PATH=/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 "$@"; }

# The papers.
[[ -s $root/LICENSE ]] || fail license "no LICENSE"
if [[ ! -s $root/.build-info ]]; then
    warn build-info "no .build-info"
else
    for line in "version: $version" "build: $build" "distro: $distro"; do
        grep -qxF -- "$line" "$root/.build-info" || fail build-info "does not say \`$line\`"
    done
fi

# Scripts find the interpreter beside themselves.
for script in "$root"/bin/*; do
    [[ ! -L $script ]] || continue
    IFS= read -r first < <(head -n 1 -- "$script" 2>/dev/null | tr -d '\0') || continue
    [[ $first != '#!'* || $first == '#!/bin/sh'* || $first == '#!/usr/bin/env '* ]] ||
        fail shebang "bin/${script##*/} starts with $first"
done

# Shared libraries: all of them are on this machine.
while IFS= read -r line; do
    fail libraries "${line#"$root/"}"
done < <(find "$root" -type f \( -name '*.so' -o -name '*.so.*' -o -path "$python" \) -exec ldd {} + 2>/dev/null |
    awk '/:$/ { file = $0 } /not found/ { sub(/^[ \t]+/, ""); print file, $0 }')

# The interpreter: runs, is what it says, lives where it was put.
if [[ ! -x $python ]]; then
    fail interpreter "no bin/python$short"
    finish
fi
if ! said=$(alone "$python" --version 2>&1); then
    fail interpreter "does not start: $said"
    finish
fi
[[ $said == "Python $version" ]] || fail version "expected Python $version, got $said"
alone "$python" - "$root" >"$work/found" 2>&1 <<'PY' || echo "interpreter $(tail -n 1 "$work/found")" >>"$work/found"
import importlib
import sys
import sysconfig

root = sys.argv[1]
for name in "ssl _ssl sqlite3 uuid lzma bz2 zlib _ctypes".split():
    try:
        module = importlib.import_module(name)
    except Exception as error:
        print("import", f"{name}: {error}")
    else:
        if not getattr(module, "__file__", root).startswith(root):
            print("relocation", f"{name} comes from {module.__file__}")
for what, place in [("sys.prefix", sys.prefix), ("sysconfig's prefix", sysconfig.get_config_var("prefix"))]:
    if place != root:
        print("relocation", f"{what} is {place}")
for place in sys.path[1:]:
    if not place.startswith(root):
        print("relocation", f"sys.path has {place}")
PY
while read -r check message; do
    fail "$check" "$message"
done < <(grep -E '^(import|relocation|interpreter) ' "$work/found" || true)
said=$(alone "$root/bin/pip$short" --version 2>&1) || fail pip "bin/pip$short does not run: ${said##*$'\n'}"
finish
