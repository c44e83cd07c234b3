# shellcheck shell=bash
# Sourced by the scripts of this folder that fill gigabytes: a scratch folder that goes in any case, with the script or, if that
# was killed with no time to tidy up, with the next one. Its lock, which the script's children hold as well, tells the two apart.

# scratch NAME: makes $work, a folder of that name below $TMPDIR, and removes those of the dead.
scratch() {
    local base=${TMPDIR:-/tmp} old lock
    # A younger one may not have its lock yet.
    while IFS= read -r -d '' old; do
        if exec {lock}<"$old" && flock -n "$lock"; then rm -rf -- "$old"; fi
        exec {lock}<&-
    done < <(find "$base" -maxdepth 1 -name "$1.????????" -type d -user "$EUID" -mmin +1 -print0)
    work=$(mktemp -d -- "$base/$1.XXXXXXXX")
    exec {lock}<"$work"
    flock "$lock"
}

# unscratch: removes it; a compiler that dies at the same moment may yet write into it.
unscratch() { rm -rf -- "$work" 2>/dev/null || { sleep 1 && rm -rf -- "$work"; }; }
