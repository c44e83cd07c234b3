#!/usr/bin/env bash
# Makes the root file system that all images start from, out of this distribution's own packages.
#
#   base.sh OUTPUT EPOCH PACKAGES...      OUTPUT is a tar archive; EPOCH is the time of whatever is newer
#
# The same packages give the same bytes. Needs mmdebstrap and the package mirror that apt of this machine uses; as an
# ordinary user also user namespaces with ranges in /etc/subuid.
set -euo pipefail
export LC_ALL=C

die() {
    echo "base.sh: $2" >&2
    exit "$1"
}

(($# >= 3)) || die 2 "usage: base.sh OUTPUT EPOCH PACKAGES..."
output=$1
export SOURCE_DATE_EPOCH=$2
shift 2
[[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || die 2 "\`$SOURCE_DATE_EPOCH\` is no time; expected seconds since 1970"
command -v mmdebstrap >/dev/null || die 4 "no mmdebstrap; sudo apt-get install mmdebstrap"
release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
[[ -n $release ]] || die 1 "/etc/os-release names no release of Debian or Ubuntu"

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch" "$output.partial"' EXIT
# shellcheck disable=SC2016  # apt's own variables
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    grep -E " $release(-[a-z]+)? (main|universe)$" | sort -u >"$scratch/sources.list" ||
    die 1 "apt knows no mirror of $release; see /etc/apt/sources.list.d"

packages=$(IFS=,; echo "$*")
mkdir -p -- "$(dirname -- "$output")"
# The documentation stays out, the licences stay in.
if ! mmdebstrap --quiet --format=tar --variant=essential --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$release" "$output.partial" "$scratch/sources.list" >"$scratch/log" 2>&1; then
    tail -n 20 "$scratch/log" >&2
    die 1 "mmdebstrap made no root file system; is the mirror reachable, and the disk not full?"
fi
mv -- "$output.partial" "$output"
echo "$release with $*: $(($(stat -c %s "$output") / 1000000)) MB"
