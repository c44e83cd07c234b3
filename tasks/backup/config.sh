#!/usr/bin/env bash
# The configuration of the infrastructure as one archive, the same for the same files. Private files are not in it.
#
#   config.sh OUT FILE…       files and folders of the current folder; what is not there is left out
#
# Needs GNU tar and gzip.
set -euo pipefail
export LC_ALL=C
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/backup/pack.sh
source "$here/pack.sh"

if (($# < 2)); then
    echo "usage: config.sh OUT FILE…" >&2
    exit 2
fi
out=$1 found=()
shift
mapfile -t -d '' found < <(
    for name; do
        [[ ! -e $name ]] || find "$name" \( -type f -o -type l \) ! -name '.env*' ! -name '*.pem' ! -name '*.key' ! -path '*/__pycache__/*' ! -path '*/node_modules/*' -print0
    done | sort -z
)
if ((${#found[@]} == 0)); then
    echo "config.sh: nothing to pack" >&2
    exit 1
fi
mkdir -p -- "$(dirname -- "$out")"
trap 'exit 143' TERM INT HUP
# One mode, one owner, one time for everybody: a umask and a checkout are no configuration.
pack "$out" --mode='u+rwX,go+rX,go-w' --owner=0 --group=0 --mtime=@0 --no-recursion -- "${found[@]}"
chmod 644 -- "$out"
echo "$out: ${#found[@]} files"
