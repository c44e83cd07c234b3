#!/usr/bin/env bash
# A throw-away PostgreSQL with the databases iact_analytics and ivr_legacy, on 127.0.0.1 only. Stays in the foreground.
#
#   postgres.sh FOLDER PORT            serves; FOLDER is an empty folder, or one this script has filled before
#   postgres.sh --ready PORT           succeeds if the application's user is let in and gets an answer
#
# In the environment: POSTGRES_PASSWORD (of the superuser postgres), DB_USER and DB_PASSWORD (of the application, owner of
# both databases, who may create test databases). Needs PostgreSQL's server, 13 or younger. Nothing survives a crash of the machine:
# what is thrown away is not flushed.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/services/server.sh
source "$here/server.sh"

fail() {
    echo "postgres.sh: $1" >&2
    exit "${2-1}"
}

: "${DB_USER:?the user of the application}" "${DB_PASSWORD:?the password of the application}"

if [[ ${1-} == --ready && $# == 2 ]]; then
    export PGPASSWORD=$DB_PASSWORD PGCONNECT_TIMEOUT=5
    [[ $(psql -XAtqw -h 127.0.0.1 -p "$2" -U "$DB_USER" -d iact_analytics -c 'SELECT 42' 2>/dev/null) == 42 ]]
    exit
fi
(($# == 2)) || fail "usage: postgres.sh FOLDER PORT | --ready PORT" 2
folder=$(cd -- "$1" && pwd) port=$2
: "${POSTGRES_PASSWORD:?the password of the user postgres}"
free "$port" || fail "port $port of 127.0.0.1 is taken: end what listens there, or give another one (port = \"auto\" finds one)"

# Debian keeps the server's programs out of PATH.
bin=$(find /usr/lib/postgresql /usr/pgsql-* -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -n 1) || true
[[ -n $bin ]] || bin=$(dirname -- "$(command -v initdb || true)")
[[ -x $bin/initdb ]] || fail "no PostgreSQL server here: apt-get install postgresql" 2

user=$(user_of postgres)
own "$user" "$folder"
cluster=$folder/cluster

# quoted TEXT: as a literal of SQL.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

if [[ ! -f $folder/made ]]; then
    (umask 077 && printf '%s' "$POSTGRES_PASSWORD" >"$folder/password" && own "$user" "$folder/password")
    (as "$user" "$bin/initdb" -D "$cluster" -U postgres --pwfile="$folder/password" -A scram-sha-256 -E UTF8 \
        --locale=C.UTF-8 --no-sync --no-instructions >"$folder/initdb.log" 2>&1) ||
        fail "initdb failed: $(tail -n 3 "$folder/initdb.log")"
    rm -f -- "$folder/password"
    # The single-user mode takes one statement a line, and says what went wrong without an exit code.
    made=$(as "$user" "$bin/postgres" --single -D "$cluster" -c fsync=off -c log_min_messages=error postgres 2>&1 <<SQL
CREATE ROLE "$DB_USER" LOGIN CREATEDB PASSWORD $(quoted "$DB_PASSWORD")
CREATE DATABASE iact_analytics OWNER "$DB_USER"
CREATE DATABASE ivr_legacy OWNER "$DB_USER"
SQL
    ) || fail "the databases could not be made: $made"
    [[ $made != *ERROR:* ]] || fail "the databases could not be made: $made"
    touch "$folder/made"
fi
unset POSTGRES_PASSWORD DB_PASSWORD
as "$user" "$bin/postgres" -D "$cluster" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=32MB \
    -c autovacuum_naptime=5min -c timezone=UTC -c log_timezone=UTC
