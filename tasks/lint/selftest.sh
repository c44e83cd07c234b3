#!/usr/bin/env bash
# Plants each defect and sees that lint, docs-check, env-file, setup, node-deps and the summary name it.
#
#   selftest.sh PYTHON      an interpreter with the packages of tasks/python/lint.txt
#
# Prints a line per case and counts; exit 1 if one is wrong. Works in a temporary folder, needs no network.
# shellcheck disable=SC2016 # back-ticks and dollars of patterns and files
set -euo pipefail
tasks=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=$(cd -- "$(dirname -- "${1:?usage: selftest.sh PYTHON}")" && pwd)/$(basename -- "$1")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cd "$scratch"
passed=0 failed=0

# expect CODE PATTERN NAME COMMAND...: the command's exit code, and what it says somewhere.
expect() {
    local code=$1 pattern=$2 name=$3 rc=0 said
    shift 3
    said=$("$@" 2>&1 </dev/null) || rc=$?
    if ((rc == code)) && grep -qE -- "$pattern" <<<"$said"; then
        echo "ok      $name"
        passed=$((passed + 1))
    else
        echo "FAILED  $name: exit $rc instead of $code, or no \`$pattern\` in:"
        printf '%s\n' "$said" | sed 's/^/        /'
        failed=$((failed + 1))
    fi
}

json() { "$tasks/lint/jsonfile.py" "$@"; }
printf '{\n  // why\n  "a": "http://x", /* b */ "c": [1, 2,],\n}\n' | tee devcontainer.json >plain.json
printf '{"a": 1, "a": 2}' >twice.json
printf '{"a": NaN}' >nan.json
expect 0 '' 'comments and trailing commas are fine in a devcontainer.json' json devcontainer.json
expect 1 'plain.json:2:3: ' '… and a mistake elsewhere, with its place' json plain.json
expect 1 '`a` stands twice' 'a key twice' json twice.json
expect 1 'NaN is not JSON' 'a number JSON does not have' json nan.json
expect 1 'gone.json.*No such file' 'a file that is not there' json gone.json

secrets() { "$python" -B "$tasks/lint/secrets.py" "$@"; }
mkdir tests
key=AKIA$(printf 'QWERTYUIOPASDFGH')
printf 'password = "%s"\n' "hunter2-$key" >app.py
cp app.py tests/app.py
printf 'password = "%s"  # pragma: allowlist secret\n' "hunter2-$key" >allowed.py
expect 1 'app.py:1: seems to hold a secret' 'a secret, by its place' secrets app.py
expect 0 '^$' '… and never by its value' bash -c '! "$1" -B "$2/lint/secrets.py" app.py 2>&1 | grep hunter2' - "$python" "$tasks"
expect 0 '' 'secrets of tests, and those that are allowed' secrets tests/app.py allowed.py

pyramid() { "$tasks/app/pyramid.py" reports "$@"; }
mkdir reports
# report NAME COUNT: a JUnit report of so many tests.
report() { echo "<testsuite>$(for ((i = 0; i < $2; i++)); do printf '<testcase/>'; done)</testsuite>" >"reports/$1.xml"; }
report unit-backend 60 && report integration-mariadb 30 && report e2e 90
expect 0 'e2e +not run here' 'a report of tests that do not run here does not count' pyramid unit integration
expect 1 'unit tests are 33 %, at least 50' 'a pyramid on its head' pyramid unit integration e2e
expect 1 'no unit tests' 'no unit tests' pyramid e2e
expect 2 usage 'a part that is none' pyramid unit smoke

printf '#!/bin/sh\n' >script.sh
expect 1 'chmod \+x script.sh' 'a script that cannot be executed, with the remedy' "$tasks/lint/mode.sh" script.sh

config() { "$python" -B "$tasks/lint/config.py" conf; }
mkdir conf
cp "$tasks/../.gitignore" .gitignore
expect 0 '0 wrong' 'a folder without configuration' config
printf '[a]\nx=1\n[a]\n' >conf/a.ini
expect 1 'conf/a.ini: .*already exists' 'an ini section twice' config
printf 'services:\n  web: {ports: ["8000:8000"]}\n  db: {image: "x:${TAG}", depends_on: [cache]}\n' >conf/compose.yml
expect 1 '`web` has neither image nor build' 'a compose service of nothing' config
expect 1 'listens to everybody on 8000:8000; remedy: 127.0.0.1:8000' 'a port open to everybody' config
expect 1 '\{TAG\} has no default' 'a variable nobody gives' config
expect 1 'depends on `cache`, which is not defined' 'a dependency that is not there' config
printf 'A=1\nB 2\nA=3\n' >conf/.env.example
expect 1 'conf/.env.example:2: is no NAME=value' 'an environment file that is none' config
printf 'build/\n' >.gitignore
expect 1 '.gitignore: does not name .env' 'an .env that git would take' config

restrictions() { "$python" -B "$tasks/lint/restrictions.py" site; }
mkdir site
expect 1 'has no settings.py' 'an application without settings is no success' restrictions
cat >site/settings.py <<'PY'
import redis
DEBUG = True
SECRET_KEY = "written out"  # pragma: allowlist secret
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
EMAIL_HOST = "mail"
value = eval("1")
PY
for pattern in 'redis. is imported: Redis' 'sessions belong in the database' 'DEBUG is fixed' 'SECRET_KEY is missing or written out' \
    'no IVRReadOnlyRouter' 'EMAIL_HOST: the application sends no e-mail' 'settings.py:6: eval\(\)'; do
    expect 1 "$pattern" "settings: $pattern" restrictions
done

docs() { "$python" -B "$tasks/docs/check.py" "$@"; }
printf '# A page\n[here](#a-page) [b](b.md#gone) [c](no.md)\n```toml\na = \n```\n```sh\nif\n```\n' >a.md
printf '# B\n' >b.md
expect 1 'a.md:2: `b.md#gone`: no such heading' 'a link to a heading that is not there' docs a.md
expect 1 'a.md:2: `no.md` leads nowhere' 'a link to a page that is not there' docs a.md
expect 1 'a.md:3: this block is no toml' 'a block that does not parse' docs a.md
expect 1 'a.md:6: this block is no sh' 'a block that is no shell' docs a.md
expect 0 '1 pages, 0 links' 'a page without mistakes' docs b.md

printf 'ONE=1\nKEY=generate\n' >.env.example
expect 0 '' 'an .env is made' "$tasks/env-file.sh" .env.example .env
expect 0 '^-rw------- ' '… for its owner only' ls -l .env
before=$(cat .env)
printf 'TWO=2\n' >>.env.example
expect 1 '.env lacks TWO; remedy' '… and never written to again: what it lacks is told' "$tasks/env-file.sh" .env.example .env
expect 0 '' '… it is what it was' test "$before" = "$(cat .env)"
chmod 644 .env
expect 1 'others may read .env' 'an .env that others may read' "$tasks/env-file.sh" --check .env.example .env

mkdir front
expect 2 'no front/package.json' 'node-deps without a package.json' "$tasks/web/node-deps.sh" front
echo '{}' >front/package.json
expect 2 'remedy: npm install --package-lock-only' 'node-deps without a lock file, with the remedy' "$tasks/web/node-deps.sh" front

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    mkdir -p own/setup/packages
    cp "$tasks/setup.sh" own/
    printf '# a comment\nno-such-package-xyz          # to see\nno-such-package-abc sh       # not needed: sh is there\n' >own/setup/packages/x.txt
    expect 1 'not installed: no-such-package-xyz$' 'setup names what is missing' own/setup.sh check
    expect 0 'missing  no-such-package-xyz .* x .*to see' '… and who wants it for what' own/setup.sh list
    expect 0 'there     *no-such-package-abc' '… not what another way provides' own/setup.sh list
fi

printf '{"failed":1,"saved_ms":0,"targets":[{"target":"a[x|y]","outcome":"failed","exit_code":3,"duration_ms":5}]}' >run.json
expect 0 '1 failed' 'the summary of a failed run' env IACT_SUMMARY=run.json IACT_EXIT_CODE=1 "$tasks/ci/summary.py" out/summary.md
expect 0 '^\| a \| failed \| 0.0 s \|  \| exit 3 \|$' '… is a table' cat out/summary.md
expect 2 'with IACT_SUMMARY set' 'a summary of nothing' env -u IACT_SUMMARY "$tasks/ci/summary.py" out/summary.md

echo "$passed passed, $failed failed"
((failed == 0))
