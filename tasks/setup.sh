#!/usr/bin/env bash
# What the targets need of a Debian or Ubuntu: the union of tasks/setup/packages/*.txt.
#
#   setup.sh install    installs what is missing, through apt-get (as root, or by sudo without a password)
#   setup.sh check      succeeds if nothing is missing; changes nothing
#   setup.sh list       shows every package, whether it is there, and who wants it for what
#
# A line of these files is `PACKAGE [PROGRAM] # reason`: with a PROGRAM on PATH the package is not needed, wherever the
# program came from. Lines that start with # are comments. What apt-get cannot install does not keep it from the rest;
# it is named at the end, and the exit code is 1.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

say() { echo "setup.sh: $*" >&2; }

# All lines as `PACKAGE PROGRAM FILE REASON`, with - for no program.
wanted() {
    awk '
        /^[[:space:]]*(#|$)/ { next }
        {
            reason = ""
            if ((at = index($0, "#")) > 0) { reason = substr($0, at + 1); $0 = substr($0, 1, at - 1) }
            file = FILENAME; sub(/.*\//, "", file); sub(/\.txt$/, "", file)
            print $1, (NF > 1 ? $2 : "-"), file, reason
        }' "$here"/setup/packages/*.txt
}

# Names of the packages that are missing, a line each.
missing() {
    local name program
    declare -A installed=()
    while read -r name; do installed[$name]=1; done < <(
        dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null | sed -n 's/ installed$//p'
    )
    while read -r name program _; do
        if [[ -z ${installed[$name]-} ]] && { [[ $program == - ]] || ! command -v "$program" >/dev/null; }; then
            echo "$name"
        fi
    done < <(wanted) | sort -u
}

as_root() { if ((EUID == 0)); then env "$@"; else sudo -n env "$@"; fi; }

apt() {
    as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# add PACKAGE...: also where one of them stands on a newer release of another than the sources offer.
add() {
    apt install -y --no-install-recommends "$@" >/dev/null ||
        apt install -y --no-install-recommends --allow-downgrades "$@" >/dev/null
}

install_missing() {
    local name
    local -a names failed=()
    mapfile -t names < <(missing)
    ((${#names[@]} > 0)) || return 0
    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        say "not installed: ${names[*]}"
        say "and this is neither root nor sudo without a password; remedy:"
        say "    sudo apt-get install --no-install-recommends ${names[*]}"
        return 1
    fi
    echo "installing: ${names[*]}"
    apt update || say "warning: apt-get update failed; what is known is used"
    if ! add "${names[@]}"; then
        say "not all at once, so one by one"
        for name in "${names[@]}"; do add "$name" || failed+=("$name"); done
    fi
    if ((${#failed[@]} > 0)); then
        say "apt-get cannot install: ${failed[*]}; the targets that need them will be skipped"
        return 1
    fi
}

list() {
    local name program file reason state absent
    absent=$(missing)
    while read -r name program file reason; do
        state=there
        if grep -qxF -- "$name" <<<"$absent"; then state=missing; fi
        printf '%-8s %-28s %-10s %s\n' "$state" "$name" "$file" "$reason"
    done < <(wanted)
}

check() {
    local -a names
    mapfile -t names < <(missing)
    if ((${#names[@]} > 0)); then
        say "not installed: ${names[*]}"
        return 1
    fi
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "there is no apt-get here: this is for Debian and Ubuntu; remedy: install by hand what \`iact doctor\` misses"
    exit 1
fi
case "$#:${1-}" in
    1:install)
        install_missing
        install_missing # what the first pass pushed out, as qemu-system-x86 does a qemu-utils of another release
        ;;
    1:check) check ;;
    1:list) list ;;
    *)
        echo "usage: setup.sh install | check | list" >&2
        exit 2
        ;;
esac
