#!/usr/bin/env bash
# Backs up every volume there is: which ones is known only now.
#
#   volumes.sh OUT SOCKET IMAGE            Docker's volumes, of the daemon at SOCKET
#   volumes.sh OUT SOCKET IMAGE FOLDER     the folders in FOLDER
#
# OUT becomes a folder with VOLUME.tar.gz of each and a SHA256SUMS. Docker's volumes are read where they lie if this user may, else
# by a container without network of IMAGE, any image with bash, tar and gzip. A volume that changes while it is read three times in a row is
# a failure: stop what writes to it. Needs GNU tar, gzip; docker unless FOLDER is given.
set -euo pipefail
export LC_ALL=C
umask 077
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/backup/pack.sh
source "$here/pack.sh"

fail() {
    echo "volumes.sh: $1" >&2
    exit "${2-1}"
}
(($# == 3 || $# == 4)) || fail "usage: volumes.sh OUT SOCKET IMAGE [FOLDER]" 2
out=$1 socket=$2 image=$3 folder=${4-}
engine() { docker -H "unix://$socket" "$@"; }

if [[ -n $folder ]]; then
    [[ -d $folder ]] || fail "no such folder: $folder" 2
    mapfile -t names < <(cd -- "$folder" && find . -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
else
    command -v docker >/dev/null || fail "no \`docker\` here: apt-get install docker.io, or name a folder with volumes=…" 2
    listed=$(timeout 30 docker -H "unix://$socket" volume ls -q 2>&1) ||
        fail "Docker's daemon does not answer at $socket: $(head -n 1 <<<"$listed"); start it, or name a folder with volumes=…"
    mapfile -t names < <([[ -z $listed ]] || sort <<<"$listed")
fi

new=$(mktemp -d "$(dirname -- "$out")/.volumes.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
trap 'exit 143' TERM INT HUP

# read_volume NAME: its archive, from where it can be read.
read_volume() {
    local name=$1 place=$folder/$1
    if [[ -z $folder ]]; then
        place=$(engine volume inspect -f '{{ .Mountpoint }}' "$name") || return
        if [[ ! -r $place ]]; then
            # shellcheck disable=SC2016  # $@ is the inner shell's
            engine run --rm --network none -v "$name:/data:ro" -v "$here/pack.sh:/pack.sh:ro" --entrypoint bash "$image" -c \
                'set -o pipefail; source /pack.sh; cd /tmp && pack out -C /data . >&2 && cat out' >"$new/$name.tar.gz"
            return
        fi
    fi
    pack "$new/$name.tar.gz" -C "$place" --exclude=./lost+found .
}

for name in "${names[@]}"; do
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] || fail "a volume with the name \`$name\`: letters, digits, \`_.-\` are known"
    for attempt in 1 2 3; do
        if said=$(read_volume "$name" 2>&1); then
            break
        elif ((attempt == 3)) || [[ ! $said =~ 'file changed as we read it'|'File removed before' ]]; then
            fail "the volume \`$name\` cannot be read: ${said##*$'\n'}"
        fi
    done
    tar -tzf "$new/$name.tar.gz" >/dev/null || fail "the archive of \`$name\` is damaged"
    echo "$name: $(stat -c %s "$new/$name.tar.gz") bytes"
done
(cd -- "$new" && : >SHA256SUMS && for name in "${names[@]}"; do sha256sum -- "$name.tar.gz"; done >SHA256SUMS)
mkdir -p -- "$out"
find "$out" -mindepth 1 -delete
find "$new" -mindepth 1 -maxdepth 1 -exec mv -t "$out" -- {} +
chmod 700 -- "$out"
echo "${#names[@]} volumes"
