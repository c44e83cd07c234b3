#!/usr/bin/env bash
# Takes promtool out of Debian's package `prometheus`, without installing that: no server is started by it.
#
#   promtool.sh OUTPUT
#
# OUTPUT is a folder; it gets `promtool`. A promtool on PATH is taken instead. Needs apt-get and dpkg-deb; apt checks
# the package's signature. Nothing on the machine changes.
set -euo pipefail
if (($# != 1)); then
    echo "usage: promtool.sh OUTPUT" >&2
    exit 2
fi
mkdir -p -- "$1"
output=$(realpath -- "$1")
if own=$(command -v promtool); then
    install -m 755 -- "$own" "$output/promtool"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
chmod 755 "$work" # apt's own user downloads
cd -- "$work"
if ! apt-get -qq -o Acquire::Retries=3 download prometheus >log 2>&1; then
    sed 's/^/    /' log >&2
    echo "promtool.sh: apt-get cannot download \`prometheus\`; try: apt-get update, or put promtool on PATH" >&2
    exit 1
fi
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >"$output/promtool"
chmod 755 "$output/promtool"
"$output/promtool" --version 2>&1 | head -n 1
