#!/usr/bin/env bash
# Fetches the source of one CPython release and proves it by its SHA-256 before it appears under its name.
#
#   fetch.sh VERSION OUTPUT BASE_URL [SHA256]
#
# The sum comes from sources.txt unless it is given; a version that is not listed there is the `.tar.xz`.
# Origins: BASE_URL (as of python.org's), then the Debian mirrors that this machine's apt knows, which hold the same
# file as the `.orig` tarball of the package. Needs curl for the first, apt for the second.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

die() {
    echo "fetch.sh: $2" >&2
    exit "$1"
}

(($# == 3 || $# == 4)) || die 2 "usage: fetch.sh VERSION OUTPUT BASE_URL [SHA256]"
version=$1 output=$2 base=$3 sum=${4-}
[[ $version =~ ^3\.[0-9]+\.[0-9]+$ ]] || die 2 "\`$version\` is no version; expected 3.Y.Z"
[[ -z $sum || $sum =~ ^[0-9a-f]{64}$ ]] || die 2 "\`$sum\` is no SHA-256; expected 64 hexadecimal digits"

format=tar.xz
while read -r known known_format known_sum; do
    if [[ $known == "$version" ]]; then format=$known_format sum=${sum:-$known_sum}; fi
done <"$here/sources.txt"
[[ -n $sum ]] || die 2 "CPython $version is not in sources.txt; give sha256=… of its Python-$version.$format"

mkdir -p -- "$(dirname -- "$output")"
partial=$output.partial.$$ log=$output.log.$$
trap 'rm -f -- "$partial" "$partial.FAILED" "$log"' EXIT

# accept ORIGIN: puts the download in place if its sum is right.
accept() {
    local actual
    actual=$(sha256sum <"$partial") actual=${actual%% *}
    if [[ $actual == "$sum" ]]; then
        mv -- "$partial" "$output"
        echo "CPython $version from $1"
        exit 0
    fi
    echo "fetch.sh: wrong checksum from $1: expected $sum, got $actual" >&2
    rm -f -- "$partial"
}

url=$base/$version/Python-$version.$format
if ! command -v curl >/dev/null; then
    echo "no curl for $url" >"$log"
elif curl -fsSL --connect-timeout 5 --retry 1 --speed-limit 1000 --speed-time 30 -o "$partial" "$url" 2>"$log"; then
    accept "$url"
fi

helper=/usr/lib/apt/apt-helper
if [[ -x $helper ]]; then
    package=python${version%.*} suffix=${format/tgz/tar.gz}
    # shellcheck disable=SC2016  # apt's own variable
    while read -r mirror; do
        url=${mirror%/}/pool/main/p/$package/${package}_$version.orig.$suffix
        "$helper" -qq -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 \
            download-file "$url" "$partial" 2>>"$log" || continue
        accept "$url"
    done < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u)
fi
sed 's/^/    /' "$log" >&2
die 1 "no origin has the right Python-$version.$format; \`python_mirror=URL\` names another than python.org"
