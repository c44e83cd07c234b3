#!/usr/bin/env bash
# A throw-away MariaDB with the databases iact_analytics and ivr_legacy, on 127.0.0.1 only. Stays in the foreground.
#
#   mariadb.sh FOLDER PORT             serves; FOLDER is an empty folder, or one this script has filled before
#   mariadb.sh --ready PORT            succeeds if the application's user is let in and gets an answer
#
# In the environment: MARIADB_ROOT_PASSWORD, DB_USER and DB_PASSWORD (of the application, who has all rights on both databases
# and on those named test_…). Needs MariaDB's server and client, 10.5 or younger. Nothing survives a crash of the machine: what is
# thrown away is not flushed.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/services/server.sh
source "$here/server.sh"

fail() {
    echo "mariadb.sh: $1" >&2
    exit "${2-1}"
}

: "${DB_USER:?the user of the application}" "${DB_PASSWORD:?the password of the application}"

if [[ ${1-} == --ready && $# == 2 ]]; then
    export MYSQL_PWD=$DB_PASSWORD
    [[ $(mariadb --no-defaults -BN --connect-timeout=5 -h 127.0.0.1 -P "$2" -u "$DB_USER" -e 'SELECT 42' ivr_legacy 2>/dev/null) == 42 ]]
    exit
fi
(($# == 2)) || fail "usage: mariadb.sh FOLDER PORT | --ready PORT" 2
folder=$(cd -- "$1" && pwd) port=$2
: "${MARIADB_ROOT_PASSWORD:?the password of the user root}"

free "$port" || fail "port $port of 127.0.0.1 is taken: end what listens there, or give another one (port = \"auto\" finds one)"
PATH=$PATH:/usr/sbin
for tool in mariadbd mariadb-install-db; do
    command -v "$tool" >/dev/null || fail "no MariaDB server here: apt-get install mariadb-server-core mariadb-client" 2
done

user=$(user_of mysql)
mkdir -p -- "$folder/tmp"
own "$user" "$folder"
data=$folder/data
# A folder of its own for temporary tables: a server that starts removes those of every other one in the same folder, who then
# finds `Index for table 'proc' is corrupt`, or dies.
# Without asynchronous I/O: its locked memory counts for all servers of one user together, and is soon used up.
options=(--no-defaults --datadir="$data" --tmpdir="$folder/tmp" --innodb-flush-method=nosync --innodb-use-native-aio=0
    --skip-log-bin)

# quoted TEXT: as a literal of SQL.
quoted() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}

if [[ ! -f $folder/made ]]; then
    (as "$user" mariadb-install-db "${options[@]}" --auth-root-authentication-method=normal --skip-test-db \
        --skip-name-resolve >"$folder/install.log" 2>&1) ||
        fail "mariadb-install-db failed: $(grep -E 'ERROR|No space' "$folder/install.log" | head -n 5)"
    made=$( (as "$user" mariadbd "${options[@]}" --bootstrap) 2>&1 <<SQL
USE mysql;
FLUSH PRIVILEGES;
CREATE DATABASE iact_analytics CHARACTER SET utf8mb4;
CREATE DATABASE ivr_legacy CHARACTER SET utf8mb4;
DELETE FROM mysql.global_priv WHERE User IN ('', 'root');
FLUSH PRIVILEGES;
CREATE USER root@'127.0.0.1' IDENTIFIED BY $(quoted "$MARIADB_ROOT_PASSWORD");
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
CREATE USER $(quoted "$DB_USER")@'127.0.0.1' IDENTIFIED BY $(quoted "$DB_PASSWORD");
GRANT ALL ON iact_analytics.* TO $(quoted "$DB_USER")@'127.0.0.1';
GRANT ALL ON ivr_legacy.* TO $(quoted "$DB_USER")@'127.0.0.1';
GRANT ALL ON \`test\\_%\`.* TO $(quoted "$DB_USER")@'127.0.0.1';
SQL
    ) || fail "the databases could not be made: $made"
    [[ $made != *ERROR* ]] || fail "the databases could not be made: $made"
    touch "$folder/made"
fi
unset MARIADB_ROOT_PASSWORD DB_PASSWORD
# The socket's name is relative to the data: an absolute one may be longer than a socket's name can be.
as "$user" mariadbd "${options[@]}" --socket=server.sock --pid-file="$folder/server.pid" --port="$port" \
    --bind-address=127.0.0.1 --skip-name-resolve --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M \
    --character-set-server=utf8mb4 --default-time-zone=+00:00 --skip-ssl
