#!/usr/bin/env bash
# In the development container, at each start: says whether both databases are reached. It never fails for them: a container
# without databases is still good for everything else.
#
#   start.sh        ports: POSTGRES_PORT (15432), MARIADB_PORT (13306) on 127.0.0.1
set -euo pipefail

if (($# > 0)); then
    echo "usage: start.sh" >&2
    exit 2
fi

# greeting PORT: a port that accepts. Whether the database behind it is well, `iact vm-check` and `iact health` tell.
greeting() { timeout 5 bash -c ": <'/dev/tcp/127.0.0.1/$1'" 2>/dev/null; }

python3 --version
for pair in "PostgreSQL ${POSTGRES_PORT:-15432}" "MariaDB ${MARIADB_PORT:-13306}"; do
    read -r name port <<<"$pair"
    if [[ ! $port =~ ^[0-9]+$ ]]; then
        echo "warning: \`$port\` is no port of $name"
    elif greeting "$port"; then
        echo "$name: 127.0.0.1:$port"
    else
        echo "warning: no $name at 127.0.0.1:$port; on the host, \`iact up devbox\` starts it"
    fi
done
