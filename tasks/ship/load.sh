#!/usr/bin/env bash
# Gives an OCI archive to the docker daemon of this machine, unless the daemon has that image.
#
#   load.sh ARCHIVE NAME:TAG
#
# Needs docker with a daemon that runs, skopeo and python3.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

die() {
    echo "load.sh: $2" >&2
    exit "$1"
}

(($# == 2)) || die 2 "usage: load.sh ARCHIVE NAME:TAG"
docker info >/dev/null 2>&1 || die 1 "no docker daemon answers; start one, or name it in DOCKER_HOST"
id=$(python3 -B "$here/oci.py" id "$1")
if docker image inspect "$id" >/dev/null 2>&1; then
    docker tag "$id" "$2"
    echo "$2 is $id already"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
skopeo copy --quiet "oci-archive:$1" "docker-archive:$scratch/image.tar:$2"
docker load --quiet --input "$scratch/image.tar" >/dev/null
docker image inspect "$id" >/dev/null 2>&1 || die 1 "the daemon made another image of $1 than $id"
echo "$2 is $id"
