#!/usr/bin/env bash
# A table of the packed CPythons in a folder, each compared with its checksum.
#
#   list.sh FOLDER
set -euo pipefail
export LC_ALL=C
if (($# != 1)); then
    echo "usage: list.sh FOLDER" >&2
    exit 2
fi
shopt -s nullglob
row() { printf '%-10s %-6s %-14s %8s  %-12s  %s\n' "$@"; }
row VERSION BUILD DISTRO SIZE SHA-256 STATE
for archive in "$1"/cpython-*.tgz; do
    [[ $archive =~ /cpython-([0-9.]+)-([a-z0-9.]+)-build([0-9]+)\.tgz$ ]] || continue
    version=${BASH_REMATCH[1]} distro=${BASH_REMATCH[2]} build=${BASH_REMATCH[3]}
    actual=$(sha256sum <"$archive") actual=${actual%% *} wanted=
    [[ ! -f $archive.sha256 ]] || read -r wanted _ <"$archive.sha256" || true
    case $wanted in
    "$actual") state=good ;;
    '') state="no checksum" ;;
    *) state="wrong checksum" ;;
    esac
    row "$version" "$build" "$distro" "$(numfmt --to=si "$(stat -c %s -- "$archive")")" "${actual:0:12}" "$state"
done
