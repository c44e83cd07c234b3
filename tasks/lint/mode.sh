#!/usr/bin/env bash
# Tells scripts that start with `#!` and cannot be executed.
#
#   mode.sh FILE...      exit 1 if there is one
set -euo pipefail

wrong=0
for file in "$@"; do
    if [[ $(head -c 2 -- "$file") == '#!' && ! -x $file ]]; then
        echo "$file: starts with #! and is not executable; remedy: chmod +x $file" >&2
        wrong=1
    fi
done
exit "$wrong"
