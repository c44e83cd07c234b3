#!/usr/bin/env bash
# Prints what of this machine enters a CPython build: compiler, libc, architecture and the libraries of packages.txt,
# one `name version` a line. What is absent is said or left out; it is no error, for deps.sh can still install it.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

if (($# > 0)); then
    echo "usage: versions.sh" >&2
    exit 2
fi
for tool in gcc make ldd; do
    { "$tool" --version 2>/dev/null || echo "$tool absent"; } | sed -n 1p
done
uname -m
if command -v dpkg-query >/dev/null; then
    mapfile -t names < <(awk '$1 ~ /-dev$/ { print $1 }' "$here/packages.txt")
    dpkg-query -W -f='${Package} ${Version}\n' "${names[@]}" libc6-dev binutils 2>/dev/null | sort || true
else
    for name in openssl sqlite3 liblzma libffi zlib uuid readline ncurses tk; do
        echo "$name $(pkg-config --modversion "$name" 2>/dev/null || echo absent)"
    done
fi
