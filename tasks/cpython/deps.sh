#!/usr/bin/env bash
# The libraries and tools a CPython build needs (packages.txt).
#
#   deps.sh install    installs what is missing, through apt-get (as root, or by sudo without a password)
#   deps.sh check      succeeds if nothing is missing that `install` could add or, where it can add nothing, if the
#                      critical libraries can be compiled and linked against; changes nothing
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

# The packages' names, one a line.
packages() { awk '$1 !~ /^#/ && ($2 == "required" || $2 == "optional") { print $1 }' "$here/packages.txt"; }

have_dpkg() { command -v dpkg-query >/dev/null; }

# The packages that are not installed.
missing() {
    local -a names
    have_dpkg || return 0
    mapfile -t names < <(packages)
    # What it has never heard of is an error to it.
    { dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${names[@]}" 2>/dev/null || true; } |
        awk -v names="${names[*]}" '$2 == "installed" { have[$1] }
            END { n = split(names, name, " "); for (i = 1; i <= n; i++) if (!(name[i] in have)) print name[i] }'
}

# The prefix with which apt-get may be called, or failure.
privilege() {
    command -v apt-get >/dev/null || return 1
    if ((EUID == 0)); then echo env; else sudo -n true 2>/dev/null && echo "sudo -n env"; fi
}

# The five critical libraries, with zlib and uuid: header, library and linker together.
compiles() {
    local scratch rc=0
    scratch=$(mktemp -d)
    gcc -x c -o "$scratch/probe" - -lssl -lcrypto -lsqlite3 -llzma -lbz2 -lffi -lz -luuid 2>"$scratch/log" <<'C' || rc=1
#include <bzlib.h>
#include <ffi.h>
#include <lzma.h>
#include <openssl/ssl.h>
#include <sqlite3.h>
#include <uuid/uuid.h>
#include <zlib.h>
int main(void) {
    uuid_t id;
    uuid_generate(id);
    return !(TLS_method() && *sqlite3_libversion() && *lzma_version_string() && *BZ2_bzlibVersion()
             && *zlibVersion() && ffi_type_pointer.size == sizeof(void *));
}
C
    if ((rc == 0)); then "$scratch/probe" || rc=1; else sed 's/^/deps.sh: /' "$scratch/log" | head -n 5 >&2; fi
    rm -rf -- "$scratch"
    return "$rc"
}

# Asked at every build: where dpkg knows the answer, no compiler is started for it.
check() {
    local absent
    if have_dpkg && privilege >/dev/null; then
        absent=$(missing)
        if [[ -n $absent ]]; then
            echo "deps.sh: not installed: ${absent//$'\n'/ }" >&2
            return 1
        fi
    else
        compiles
    fi
}

install_missing() {
    local become
    local -a wanted
    mapfile -t wanted < <(missing)
    if ((${#wanted[@]} == 0)); then
        :
    elif become=$(privilege); then
        echo "installing: ${wanted[*]}"
        # shellcheck disable=SC2086  # `sudo -n env` is three words
        apt() { $become DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }
        apt update || echo "warning: apt-get update failed" >&2
        if ! apt install -y --no-install-recommends "${wanted[@]}" >/dev/null; then
            echo "deps.sh: apt-get could not install ${wanted[*]}" >&2
            return 1
        fi
    else
        echo "warning: not installed, and no right to install: ${wanted[*]}" >&2
    fi
    if ! compiles; then
        mapfile -t wanted < <(packages)
        echo "deps.sh: the critical libraries cannot be used; on Debian or Ubuntu run:" >&2
        echo "    sudo apt-get install ${wanted[*]}" >&2
        return 1
    fi
}

case "$#:${1-}" in
1:install) install_missing ;;
1:check) check ;;
*)
    echo "usage: deps.sh install | check" >&2
    exit 2
    ;;
esac
