#!/usr/bin/env bash
# Compiles a packed CPython once more and compares every byte: another folder, umask, time zone, language, home.
#
#   reproducible.sh SOURCE ARCHIVE OPTIMIZE [FLAG…]      the arguments ARCHIVE was built with (see build.sh)
#
# Only for OPTIMIZE `no`: profiles of PGO differ from run to run. Names the first members that differ, then exits 1.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/cpython/scratch.sh
source "$here/scratch.sh"
export LC_ALL=C

die() {
    echo "reproducible.sh: $2" >&2
    exit "$1"
}

(($# >= 3)) || die 2 "usage: reproducible.sh SOURCE ARCHIVE OPTIMIZE [FLAG…]"
source=$1 archive=$2 optimize=$3
shift 3
[[ $optimize == no ]] || die 2 "only a build with optimize=no is the same bytes each time"
[[ -f $archive ]] || die 2 "no such archive: $archive"

scratch cpython-again
trap unscratch EXIT
mkdir -p "$work/a/folder-of-another-name" "$work/home"
again=$work/$(basename -- "$archive")
(
    umask 077
    export TMPDIR="$work/a/folder-of-another-name" HOME="$work/home" TZ=Asia/Kolkata LANG=C LC_ALL=
    "$here/build.sh" "$source" "$again" "$optimize" "$@"
)
if cmp -s -- "$archive" "$again"; then
    echo "$(basename -- "$archive"): the same bytes again"
    exit 0
fi
# shellcheck disable=SC2016  # variables of tar's command
members() { tar -xzf "$1" --to-command='printf "%s %s %s\n" "$(sha256sum | cut -c 1-64)" "$TAR_MODE" "$TAR_FILENAME"'; }
echo "reproducible.sh: $(basename -- "$archive") differs from its second build in:" >&2
differing=$({ diff <(members "$archive" | sort -k 3) <(members "$again" | sort -k 3) || true; } |
    sed -n 's/^[<>] [0-9a-f]* [0-9]* //p' | sort -u)
{ sed -n '1,20s/^/    /p' <<<"${differing:-the order, times or owners of its members}"; } >&2
exit 1
