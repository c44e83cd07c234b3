#!/usr/bin/env bash
# Installs the packages of a front end exactly as its lock file says.
#
#   node-deps.sh FOLDER      makes FOLDER/node_modules from FOLDER/package.json and package-lock.json
#
# No package's own scripts run, nothing is audited or reported. Needs npm 9 and a package registry; leaves no
# node_modules if it fails.
set -euo pipefail

if (($# != 1)); then
    echo "usage: node-deps.sh FOLDER" >&2
    exit 2
fi
for file in package.json package-lock.json; do
    [[ -f $1/$file ]] || {
        echo "node-deps.sh: no $1/$file; remedy: npm install --package-lock-only in $1" >&2
        exit 2
    }
done
cd -- "$1"
trap 'if (($? != 0)); then rm -rf node_modules; fi' EXIT
npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
npm ls --all >/dev/null
mkdir node_modules/.vite-temp # vite would make it, and what is installed would no more be what was installed
