#!/usr/bin/env bash
# Pushes an OCI archive to a registry and sees that the registry gives back exactly that.
#
#   push.sh ARCHIVE REGISTRY/NAME TAG
#
# A tag that names something else already is refused, `latest` apart; one that names this image is left alone. A registry on
# loopback is spoken to without TLS. Credentials are those of `skopeo login`. Needs skopeo and python3.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

die() {
    echo "push.sh: $2" >&2
    exit "$1"
}

(($# == 3)) || die 2 "usage: push.sh ARCHIVE REGISTRY/NAME TAG"
archive=$1 repository=$2 tag=$3
[[ -f $archive ]] || die 2 "no such file: $archive"
[[ $repository =~ ^[a-zA-Z0-9.:-]+(/[a-z0-9._-]+)+$ ]] || die 2 "\`$repository\` is no repository; expected host:port/name"
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || die 2 "\`$tag\` is no tag"
command -v skopeo >/dev/null || die 4 "no skopeo; sudo apt-get install skopeo"

secure=true
case $repository in 127.* | localhost[:/]*) secure=false ;; esac
digest=$(python3 -B "$here/oci.py" digest "$archive")
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT

# digest_of REFERENCE: the digest of the manifest that the registry gives for it, nothing if it has none.
digest_of() {
    local raw=$log.raw rc=0
    skopeo --command-timeout 60s inspect --raw --tls-verify="$secure" "docker://$repository$1" >"$raw" 2>"$log" || rc=$?
    if ((rc == 0)); then
        read -r found _ < <(sha256sum <"$raw")
        echo "sha256:$found"
    fi
    rm -f -- "$raw"
    ((rc == 0)) || grep -qiE 'manifest unknown|name unknown|not found' "$log" || {
        sed 's/.*msg=//' "$log" | tail -n 1 >&2
        die 1 "the registry ${repository%%/*} does not answer; is it up, and may you push there (\`skopeo login\`)?"
    }
}

there=$(digest_of ":$tag")
if [[ $there == "$digest" ]]; then
    echo "$repository:$tag is $digest already"
    exit 0
fi
[[ -z $there || $tag == latest ]] || die 1 "$repository:$tag is $there already, and a released tag is not moved; choose another with release=…"
skopeo --command-timeout 10m copy --quiet --preserve-digests --dest-tls-verify="$secure" "oci-archive:$archive" \
    "docker://$repository:$tag" >"$log" 2>&1 || {
    tail -n 3 "$log" >&2
    die 1 "could not push to $repository"
}
there=$(digest_of "@$digest")
[[ $there == "$digest" ]] || die 1 "$repository gives back ${there:-nothing} for $digest"
echo "$repository:$tag is $digest"
