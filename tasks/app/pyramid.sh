#!/usr/bin/env bash
# Names the parts of the test pyramid that run on this machine: what test-unit, test-integration and test-e2e require.
set -euo pipefail

parts=(unit)
if [[ -e /usr/lib/postgresql ]] && command -v mariadb-install-db >/dev/null; then
    parts+=(integration)
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then parts+=(e2e); fi
fi
echo "${parts[*]}"
