# shellcheck shell=bash
# Sourced: archives that are the same for the same content. Needs GNU tar and gzip.

# pack OUT TAR-ARGUMENT…: what these arguments of tar name as OUT, which appears whole or not at all.
pack() {
    local out=$1 temporary
    shift
    temporary=$(mktemp "$(dirname -- "$out")/.pack.XXXXXX")
    if tar --sort=name --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f \
        -cf - "$@" | gzip -n -6 >"$temporary"; then
        mv -- "$temporary" "$out"
    else
        rm -f -- "$temporary"
        return 1
    fi
}
