#!/usr/bin/env bash
# Plants mistakes in a copy of .devcontainer and sees that check.py and host.py name each one.
#
#   selftest.sh        nothing outside a scratch folder is changed
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mkdir "$work/tasks"
cp -r -- "$root/tasks/devcontainer" "$root/tasks/cpython" "$root/tasks/lint" "$work/tasks/"
cp -r -- "$root/.devcontainer" "$work/good"
cd -- "$work"
tests=0 failed=0

# expect CODE TEXT COMMAND…: it exits with CODE and says TEXT.
expect() {
    local code=$1 text=$2 rc=0
    shift 2
    tests=$((tests + 1))
    "$@" >output 2>&1 </dev/null || rc=$?
    if ((rc != code)) || { [[ -n $text ]] && ! grep -qF -- "$text" output; }; then
        echo "FAIL $*: exit $rc instead of $code, or it does not say \`$text\`" >&2
        sed 's/^/    /' output >&2
        failed=$((failed + 1))
    fi
}

# planted TEXT SED FILE: check.py says TEXT of a copy that SED has changed.
planted() {
    rm -rf .devcontainer && cp -r good .devcontainer
    sed -i "$2" ".devcontainer/$3"
    expect 1 "$1" tasks/devcontainer/check.py .devcontainer "$version" "$build"
}

version=$(sed -n 's/.*"PYTHON_VERSION": "\(.*\)".*/\1/p' good/devcontainer.json)
build=$(sed -n 's/.*"PYTHON_BUILD": "\(.*\)".*/\1/p' good/devcontainer.json)
cp -r good .devcontainer
expect 0 "" tasks/devcontainer/check.py .devcontainer "$version" "$build"
expect 2 usage tasks/devcontainer/check.py .devcontainer
expect 1 "and the workspace has '3.0.0'" tasks/devcontainer/check.py .devcontainer 3.0.0 "$build"
expect 1 "No such file" tasks/devcontainer/check.py absent "$version" "$build"
planted "Expecting" 's/"name": "iact",/"name": "iact"/' devcontainer.json
planted "no key of devcontainer.json" 's/"remoteUser"/"remotUser"/' devcontainer.json
planted "has the wrong type" 's/"remoteUser": .*/"remoteUser": 7,/' devcontainer.json
planted "is not there, or not executable" 's|devcontainer/start.sh|devcontainer/absent.sh|' devcontainer.json
planted "is no port" 's/15432, 13306\]/154320]/' devcontainer.json
planted "stands twice" 's/15432, 13306\]/15432, 15432]/' devcontainer.json
planted "build.dockerfile" 's/"dockerfile": .*/"dockerfile": "Absent",/' devcontainer.json
planted "has no such ARG" 's/"DISTRO"/"DISTRIBUTION"/' devcontainer.json
planted "has no default" 's/^ARG DISTRO=.*/ARG OTHER/' Dockerfile
planted "which is not there" 's|^COPY tasks/.*|COPY tasks/absent.sh /tmp/|' Dockerfile

host=tasks/devcontainer/host.py
expect 2 usage "$host" all
expect 2 "no step \`telepathy\`" "$host" check telepathy
rm -rf .devcontainer
expect 1 "no .devcontainer/devcontainer.json" "$host" check folder
mkdir .devcontainer && touch .devcontainer/devcontainer.json
expect 0 "" "$host" check folder
expect 0 "nothing to do" "$host" fix folder
expect 0 "by hand: \`iact build cpython-build\`" "$host" fix archive
mkdir empty && ln -s "$(python3 -c 'import sys; print(sys.executable)')" empty/python3
expect 1 "no docker on PATH" env PATH="$work/empty" "$work/empty/python3" "$host" check docker
expect 1 "MISSING  docker" env PATH="$work/empty" "$work/empty/python3" "$host"
expect 2 usage tasks/devcontainer/create.sh one two
expect 2 usage tasks/devcontainer/start.sh one

echo "$((tests - failed)) of $tests passed"
((failed == 0))
