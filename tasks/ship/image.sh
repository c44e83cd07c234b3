#!/usr/bin/env bash
# Builds one image into an OCI archive; the same inputs give the same digest, with either engine.
#
#   image.sh backend  OUTPUT EPOCH BASE ENGINE PYTHON PACKAGES SITE
#   image.sh frontend OUTPUT EPOCH BASE ENGINE PAGE
#
# OUTPUT.digest gets the manifest's digest. ENGINE is `auto` (a docker daemon that runs, else buildah), `docker` or
# `buildah`. Needs python3, and buildah or docker with skopeo; buildah as an ordinary user also ranges in /etc/subuid.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C TZ=UTC PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

die() {
    echo "image.sh: $2" >&2
    exit "$1"
}

case "${1-}:$#" in
backend:8 | frontend:6) ;;
*) die 2 "usage: image.sh backend OUTPUT EPOCH BASE ENGINE PYTHON PACKAGES SITE | frontend OUTPUT EPOCH BASE ENGINE PAGE" ;;
esac
name=$1 output=$2 epoch=$3 base=$4 engine=$5
shift 5
[[ $epoch =~ ^[0-9]+$ ]] || die 2 "\`$epoch\` is no time; expected seconds since 1970"
for path in "$base" "$@"; do
    [[ -e $path ]] || die 2 "no such file: $path"
done
case $engine in
auto)
    engine=buildah
    if docker info >/dev/null 2>&1 && command -v skopeo >/dev/null; then engine=docker; fi
    ;;
docker | buildah) ;;
*) die 2 "\`$engine\` is no engine; expected auto, docker or buildah" ;;
esac
command -v "$engine" >/dev/null || die 4 "no $engine; sudo apt-get install buildah"

scratch=$(mktemp -d)
# For what buildah would leave behind in it, too, if it is killed.
export TMPDIR=$scratch/tmp
mkdir "$TMPDIR"
tag=iact-build-$name-$$:latest
cleanup() {
    case $engine in
    buildah) buildah "${store[@]}" rm --all >/dev/null 2>&1 || true ;;
    docker) docker image rm --force "$tag" >/dev/null 2>&1 || true ;;
    esac
    chmod -R u+rwX -- "$scratch" 2>/dev/null || true
    rm -rf -- "$scratch" "$output.partial" || buildah unshare rm -rf -- "$scratch"
}
store=(--root "$scratch/store" --runroot "$scratch/run" --storage-driver vfs)
trap cleanup EXIT
trap 'exit 143' TERM INT HUP

# The context: what the Dockerfile copies, with modes and bytecode that do not depend on who builds.
context=$scratch/context root=$scratch/context/rootfs
mkdir -p "$root/app"
cp --reflink=auto -- "$base" "$context/base.tar"
cp -- "$here/images/$name/Dockerfile" "$context/Dockerfile"
cp -- "$here/images/$name/start" "$root/app/start"
case $name in
backend)
    python=$1
    mkdir -p "$root/opt" "$root/var/lib/callcentersite"
    cp -a -- "$python" "$root/opt/python"
    cp -a -- "$2" "$root/app/packages"
    cp -a -- "$3" "$root/app/site"
    find "$root" -name __pycache__ -prune -exec rm -rf {} +
    "$python/bin/python3" -m compileall -q -j 1 -s "$root" -p / --invalidation-mode unchecked-hash \
        "$root/opt/python/lib" "$root/app" >/dev/null || die 1 "some of the site's files are not Python"
    ;;
frontend)
    cp -a -- "$1" "$root/app/site"
    cp -- "$here/images/frontend/nginx.conf.in" "$root/app/nginx.conf.in"
    ;;
esac
chmod -R u=rwX,go=rX -- "$root"
find "$root" -exec touch --no-dereference --date="@$epoch" {} +

case $engine in
buildah)
    buildah "${store[@]}" bud --quiet --isolation chroot --layers --timestamp "$epoch" --tag "$tag" "$context" >"$scratch/log" 2>&1 &&
        buildah "${store[@]}" push --quiet --disable-compression "$tag" "oci-archive:$scratch/image.tar:latest" >>"$scratch/log" 2>&1
    ;;
docker)
    docker build --quiet --force-rm --tag "$tag" "$context" >"$scratch/log" 2>&1 &&
        docker save --output "$scratch/saved.tar" "$tag" 2>>"$scratch/log" &&
        skopeo copy --quiet "docker-archive:$scratch/saved.tar" "oci-archive:$scratch/image.tar:latest" >>"$scratch/log" 2>&1
    ;;
esac || {
    tail -n 20 "$scratch/log" >&2
    die 1 "$engine could not build $name"
}

mkdir -p -- "$(dirname -- "$output")"
digest=$(python3 "$here/oci.py" normalise "$scratch/image.tar" "$output.partial" "$epoch")
mv -- "$output.partial" "$output"
echo "$digest" >"$output.digest"
echo "$name by $engine: $digest, $(($(stat -c %s "$output") / 1000000)) MB"
