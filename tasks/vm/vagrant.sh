#!/usr/bin/env bash
# Checks the Vagrantfile: with Vagrant its whole configuration, without it Ruby's syntax, and says which.
#
#   vagrant.sh FILE         no provider is needed, nothing is started or downloaded
set -euo pipefail
export LC_ALL=C.UTF-8

if (($# != 1)); then
    echo "usage: vagrant.sh FILE" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
# Neither the user's plug-ins nor a state beside the file count, and nobody asks the network for news.
export VAGRANT_HOME=$work/home VAGRANT_DOTFILE_PATH=$work/state VAGRANT_CHECKPOINT_DISABLE=1
file=$(realpath -- "$1")
[[ -f $file ]] || {
    echo "vagrant.sh: no such file: $1" >&2
    exit 2
}
if command -v vagrant >/dev/null; then
    export VAGRANT_CWD=${file%/*} VAGRANT_VAGRANTFILE=${file##*/}
    vagrant validate --ignore-provider
elif command -v ruby >/dev/null; then
    ruby -wc "$file"
    echo "only the syntax: no vagrant on PATH; \`iact setup\` or \`apt-get install vagrant\` helps"
else
    echo "vagrant.sh: neither vagrant nor ruby on PATH; \`iact setup\` or \`apt-get install vagrant\` helps" >&2
    exit 4
fi
