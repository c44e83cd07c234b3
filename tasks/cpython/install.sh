#!/usr/bin/env bash
# Puts a packed CPython at a prefix: whole or not at all, and only if it is not there already.
#
#   install.sh ARCHIVE [PREFIX]          default prefix: /opt/python-X.Y.Z
#   install.sh --check ARCHIVE [PREFIX]  succeeds if exactly this archive is installed there and works
#
# ARCHIVE.sha256 lies beside the archive; digests are compared, so the name does not matter. PREFIX/.installed holds
# the digest of what is installed. A folder that has none is not ours and is never replaced. Needs tar, gzip.
set -euo pipefail
export LC_ALL=C

die() {
    echo "install.sh: $2" >&2
    exit "$1"
}

only_check=
if [[ ${1-} == --check ]]; then
    only_check=yes
    shift
fi
(($# == 1 || $# == 2)) || die 2 "usage: install.sh [--check] ARCHIVE [PREFIX]"
archive=$1 name=$(basename -- "$1")
[[ $name =~ ^cpython-([0-9]+\.[0-9]+)\.([0-9]+)- ]] || die 2 "\`$name\` is not cpython-X.Y.Z-….tgz"
short=${BASH_REMATCH[1]} version=${BASH_REMATCH[1]}.${BASH_REMATCH[2]}
prefix=$(realpath -ms -- "${2:-/opt/python-$version}")
[[ $prefix != / ]] || die 2 "the prefix cannot be /"
read -r wanted _ <"$archive.sha256" || die 1 "no checksum: $archive.sha256"

# works FOLDER: it holds this very archive, and its interpreter runs with every critical module.
works() {
    [[ $(cat -- "$1/.installed" 2>/dev/null) == "$wanted" ]] &&
        [[ $(env -i "$1/bin/python$short" -BIc '
import platform, ssl, _ssl, sqlite3, uuid, lzma, bz2, zlib, _ctypes
print(platform.python_version())' 2>&1) == "$version" ]]
}

if works "$prefix"; then
    [[ -n $only_check ]] || echo "$prefix: has Python $version already"
    exit 0
elif [[ -n $only_check ]]; then
    echo "install.sh: $prefix does not have this Python $version" >&2
    exit 1
fi

actual=$(sha256sum <"$archive") actual=${actual%% *}
[[ $actual == "$wanted" ]] || die 1 "wrong checksum of $name: expected $wanted, got $actual"
if [[ -e $prefix || -L $prefix ]]; then
    [[ -f $prefix/.installed ]] || rmdir -- "$prefix" 2>/dev/null ||
        die 1 "$prefix exists and was not installed by this script; remove it, or choose another prefix=…"
fi
if ! mkdir -p -- "$(dirname -- "$prefix")" || ! new=$(mktemp -d -- "$prefix.new.XXXXXXXX"); then
    die 1 "cannot write beside $prefix; choose another prefix=…"
fi
old=$new.old
# Also on a signal between the two renames, the old installation comes back.
trap '[[ -e $prefix || ! -e $old ]] || mv -T -- "$old" "$prefix"; rm -rf -- "$new" "$old"' EXIT

tar -xzf "$archive" -C "$new" --strip-components=1 --no-same-owner || die 1 "cannot unpack $name"
chmod 755 "$new"
echo "$wanted" >"$new/.installed"
works "$new" || die 1 "the Python of $name does not work on this machine"
[[ ! -e $prefix ]] || mv -T -- "$prefix" "$old"
mv -T -- "$new" "$prefix"
echo "$prefix: Python $version"
