#!/usr/bin/env bash
# Runs the procedures that ask first or change something outside the workspace, all against throw-away places.
#
#   procedures.sh IACT SCRATCH           IACT is the program, SCRATCH an empty folder; the current folder is the workspace
#   procedures.sh IACT SCRATCH vm        also those of the virtual machine, some minutes more
#
# Needs what `iact build setup` installs; a target whose component is missing is skipped by iact and said so. Prints a line
# per procedure and counts. Leaves nothing that runs; what is left in SCRATCH is the caller's.
set -euo pipefail
iact=${1:?usage: procedures.sh IACT SCRATCH [vm]} scratch=${2:?usage: procedures.sh IACT SCRATCH [vm]}
passed=0 failed=0 holder=''

quit() {
    if [[ -n $holder ]]; then
        "$iact" down >/dev/null 2>&1 || true
        wait "$holder" || true
    fi
}
trap quit EXIT

# expect CODE GOAL... : what the build has to end with.
expect() {
    local code=$1 rc=0
    shift
    "$iact" build --output errors "$@" >"$scratch/said" 2>&1 </dev/null || rc=$?
    if ((rc == code)); then
        echo "ok      $*"
        passed=$((passed + 1))
    else
        echo "FAILED  $*: exit $rc instead of $code"
        sed 's/^/        /' "$scratch/said" | tail -n 25
        failed=$((failed + 1))
    fi
}

cpython() {
    expect 0 cpython-install "prefix=$scratch/python"
    expect 0 cpython-install "prefix=$scratch/python"
    expect 4 cpython-publish "registry=$scratch/registry"
    expect 0 cpython-publish "registry=$scratch/registry" --yes
    expect 0 cpython-list "registry=$scratch/registry"
}

# Staging, production with a short watch, and both of them ended.
deploys() {
    local root="deploy_root=$scratch/deploy"
    expect 0 deploy-staging smoke "$root"
    expect 0 deploy-status deploy-start "$root"
    expect 4 deploy-production "$root" checks=2 every=1 hold=1
    expect 0 deploy-production "$root" checks=2 every=1 hold=1 --yes
    expect 1 rollback "$root" --yes # there is no release before; deploy-test has two
    expect 0 deploy-stop "$root" environment=staging --yes
    expect 0 deploy-stop "$root" environment=production --yes
    expect 0 docker-load
}

# Where a service that is held listens.
port_of() { "$iact" ps --json | python3 -c 'import json, sys; print(next(s["port"] for s in json.load(sys.stdin) if s["service"] == sys.argv[1] and s["state"] == "ready"))' "$1"; }

# The databases of `iact up` are the live ones.
databases() {
    local try
    "$iact" up postgres mariadb >"$scratch/up" 2>&1 </dev/null &
    holder=$!
    for try in {1..600}; do
        if port_of mariadb >/dev/null 2>&1 && port_of postgres >/dev/null 2>&1; then break; fi
        kill -0 "$holder" 2>/dev/null || break
        sleep 0.2
    done
    echo "databases after $try looks"
    local postgres mariadb
    postgres=127.0.0.1:$(port_of postgres) mariadb=127.0.0.1:$(port_of mariadb)
    expect 4 db-dump-live "postgres_at=$postgres" "mariadb_at=$mariadb"
    export ANALYTICS_DB_HOST=127.0.0.1 ANALYTICS_DB_PORT=${postgres#*:} DB_USER=django_user
    expect 4 migrate --approve migrate # without its secret
    DB_PASSWORD=wrong expect 1 migrate --approve migrate # pragma: allowlist secret
    export DB_PASSWORD=django_pass # pragma: allowlist secret
    expect 4 migrate
    expect 0 migrate --approve migrate
    expect 0 migrate-restore
    ANALYTICS_DB_ENGINE=mariadb ANALYTICS_DB_PORT=${mariadb#*:} expect 0 migrate --yes
    MYSQL_PWD=$DB_PASSWORD mariadb --no-defaults -h 127.0.0.1 -P "${mariadb#*:}" -u django_user ivr_legacy \
        <examples/callcentersite/backend/ivr/schema.sql
    expect 0 db-dump-live "postgres_at=$postgres" "mariadb_at=$mariadb"
    expect 4 db-restore "postgres_at=$postgres" "mariadb_at=$mariadb"
    expect 0 db-restore "postgres_at=$postgres" "mariadb_at=$mariadb" --yes
    quit
    holder=''
}

machine() {
    expect 0 vm-snapshot vm_postgres_port=0 vm_mariadb_port=0
    expect 0 vm-restore vm_postgres_port=0 vm_mariadb_port=0 --yes
}

cpython
deploys
databases
if [[ ${3-} == vm ]]; then machine; fi
expect 4 devcontainer-host-fix
expect 4 hamilton-network # a person has to say yes before it costs money
echo "$passed passed, $failed failed"
((failed == 0))
