#!/usr/bin/env bash
# The call centre site of examples/callcentersite on 127.0.0.1, with throw-away databases: brings both up to date, then serves.
# Stays in the foreground.
#
#   app.sh VENV FRONTEND PORT          FRONTEND is the built page; an empty text serves the addresses below /api only
#
# In the environment: what callcentersite/databases.py reads. Needs the venv of the target app-venv and the mariadb client.
set -euo pipefail
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

if (($# != 3)); then
    echo "usage: app.sh VENV FRONTEND PORT" >&2
    exit 2
fi
python=$(cd -- "$1/bin" && pwd)/python port=$3
export FRONTEND_DIR=
if [[ -n $2 ]]; then FRONTEND_DIR=$(cd -- "$2" && pwd); fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../examples/callcentersite/backend"

# The legacy tables belong to nobody here; a folder kept from before has them already.
legacy=(mariadb --no-defaults --connect-timeout=5 -h "${IVR_DB_HOST:-127.0.0.1}" -P "$IVR_DB_PORT" -u "$DB_USER"
    "${IVR_DB_NAME:-ivr_legacy}")
if [[ -z $(MYSQL_PWD=$DB_PASSWORD "${legacy[@]}" -BNe "SHOW TABLES LIKE 'calls'") ]]; then
    MYSQL_PWD=$DB_PASSWORD "${legacy[@]}" <ivr/schema.sql
fi
"$python" manage.py migrate --no-input --verbosity 0
"$python" manage.py process_etl
exec "$python" -m gunicorn callcentersite.wsgi:application --bind "127.0.0.1:$port" --workers 2 --threads 4 \
    --worker-tmp-dir "${TMPDIR:-/tmp}" --no-control-socket --graceful-timeout 3 --timeout 30 --log-level warning
