#!/usr/bin/env bash
# Makes an environment file from its example, for its owner only. One that is there is never written to.
#
#   env-file.sh EXAMPLE FILE             makes FILE; of one that is there, tells which names of EXAMPLE it lacks
#   env-file.sh --check EXAMPLE FILE     succeeds if FILE is there, its owner's alone, and lacks no name
#
# A value `generate` becomes 40 random characters. Values are never shown.
set -euo pipefail
export LC_ALL=C

names() { sed -nE 's/^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)=.*/\2/p' "$1" | sort -u; }

check() {
    local lacking mode
    [[ -f $2 ]] || {
        echo "env-file.sh: there is no $2; remedy: iact build env-file" >&2
        return 1
    }
    mode=$(stat -c %a -- "$2" 2>/dev/null || stat -f %Lp -- "$2")
    [[ $mode == ?00 ]] || {
        echo "env-file.sh: others may read $2 ($mode); remedy: chmod 600 $2" >&2
        return 1
    }
    lacking=$(comm -23 <(names "$1") <(names "$2"))
    [[ -z $lacking ]] || {
        echo "env-file.sh: $2 lacks ${lacking//$'\n'/, }; remedy: add them as in $1; it is never written to by itself" >&2
        return 1
    }
}

make() {
    local line new
    new=$(mktemp -- "$2.XXXXXX") # for its owner only
    # shellcheck disable=SC2064 # the name as it is now
    trap "rm -f -- '$new'" EXIT
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line == *=generate ]]; then
            line=${line%generate}$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
        fi
        printf '%s\n' "$line"
    done <"$1" >"$new"
    # A link refuses a name that is taken, were it made this moment.
    ln -- "$new" "$2" 2>/dev/null || [[ -f $2 ]] || {
        echo "env-file.sh: cannot make $2" >&2
        return 1
    }
}

mode="make"
if [[ ${1-} == --check ]]; then
    mode=check
    shift
fi
if (($# != 2)) || [[ ! -f $1 ]]; then
    echo "usage: env-file.sh [--check] EXAMPLE FILE; EXAMPLE has to be there" >&2
    exit 2
fi
if [[ $mode == make && ! -e $2 ]]; then make "$1" "$2"; fi
check "$1" "$2"
