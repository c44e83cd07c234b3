#!/usr/bin/env bash
# The restore drill: a dump takes the place of a database that holds something else, and that one comes back.
#
#   drill.sh HOST:PORT DUMP MANIFEST [IDENTITY]
#
# HOST:PORT   a server where DB_USER (with DB_PASSWORD) may make databases named test_…; the drill's own is removed at the end
# IDENTITY    the key of an encrypted dump
#
# Needs what dump.py, prove.py and restore.py of this folder need.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if (($# < 3 || $# > 4)); then
    echo "usage: drill.sh HOST:PORT DUMP MANIFEST [IDENTITY]" >&2
    exit 2
fi
address=$1 dump=$2 manifest=$3 identity=${4-}
kind=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["kind"])' "$manifest")
database=test_drill_$$
work=$(mktemp -d)

# sql TEXT: what the server answers.
sql() {
    if [[ $kind == postgres ]]; then
        PGPASSWORD=$DB_PASSWORD psql -XAtqw -v ON_ERROR_STOP=1 -h "${address%:*}" -p "${address#*:}" -U "$DB_USER" -d "${2-postgres}" -c "$1"
    else
        MYSQL_PWD=$DB_PASSWORD mariadb --no-defaults -BN -h "${address%:*}" -P "${address#*:}" -u "$DB_USER" -e "$1" ${2:+"$2"}
    fi
}
leave() {
    rm -rf -- "$work"
    sql "DROP DATABASE IF EXISTS $database" || echo "drill.sh: warning: the database \`$database\` may be left" >&2
}
trap leave EXIT
trap 'exit 143' TERM INT HUP

sql "CREATE DATABASE $database"
sql "CREATE TABLE older (id int PRIMARY KEY)" "$database"
sql "INSERT INTO older VALUES (1), (2), (3)" "$database"
"$here/restore.py" "$kind" "$address" "$database" "$dump" "$manifest" "$work/before.sql.gz" "$work/before.json" --identity "$identity"
if sql "SELECT count(*) FROM older" "$database" >/dev/null 2>&1; then
    echo "drill.sh: what the database held before is still in it" >&2
    exit 1
fi
"$here/dump.py" "$kind" "$address" "$database" "$work/again.sql.gz" "$work/again.json"
"$here/restore.py" "$kind" "$address" "$database" "$work/before.sql.gz" "$work/before.json" "$work/last.sql.gz" "$work/last.json"
rows=$(sql "SELECT count(*) FROM older" "$database")
if [[ $rows != 3 ]]; then
    echo "drill.sh: $rows rows came back instead of 3" >&2
    exit 1
fi
# sum FILE: the digest of the text a manifest was made for.
sum() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["text"]["sha256"])' "$1"; }
if [[ $(sum "$work/again.json") != "$(sum "$manifest")" || $(sum "$work/last.json") != "$(sum "$manifest")" ]]; then
    echo "drill.sh: a dump of the restored database is another text than the dump" >&2
    exit 1
fi
echo "$kind: restored over another database, dumped again to the same text, and undone"
