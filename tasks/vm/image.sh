#!/usr/bin/env bash
# Builds the virtual machine's image: a Debian 12 with PostgreSQL and MariaDB, bootable by QEMU through its kernel.
#
#   image.sh OUT SIZE [MIRROR]
#
# OUT     the folder to make: disk.qcow2 (compressed), vmlinuz, initrd.img, packages.txt (what is in it, with versions)
#         and image.json (what proves the disk). It appears whole or not at all.
# SIZE    of the guest's disk, as in 4G; what is empty takes no room
# MIRROR  of Debian's packages; by default those that this machine's apt uses, else deb.debian.org
#
# Needs mmdebstrap, qemu-img, mke2fs. Needs no root: as an ordinary user it works in a user namespace, for which
# /etc/subuid has to have a range of that user's. Nothing is mounted on the machine, no service is started.
#
# No password is in the image: each machine gets one when it starts (guest/databases.sh).
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "image.sh: $2" >&2
    exit "$1"
}

(($# == 2 || $# == 3)) || die 2 "usage: image.sh OUT SIZE [MIRROR]"
out=$(realpath -m -- "$1") size=$2 mirror=${3-}
[[ $size =~ ^[1-9][0-9]*[GM]$ ]] || die 2 "\`$size\` is no size of a disk; write it as in 4G"
for tool in mmdebstrap qemu-img mke2fs; do
    command -v "$tool" >/dev/null || die 4 "no $tool; \`iact setup\` or apt-get install mmdebstrap qemu-utils e2fsprogs helps"
done
become=()
if ((EUID != 0)); then
    become=(unshare --map-root-user --map-auto --)
    "${become[@]}" true 2>/dev/null ||
        die 4 "no user namespace with more than one user: install uidmap and give $(id -un) a range in /etc/subuid"
fi

# The release's own time: nothing in the image depends on when it was built.
export SOURCE_DATE_EPOCH=1686355200 E2FSPROGS_FAKE_TIME=1686355200
uuid=6f1e2a34-5b7c-4d8e-9f01-1ac7d0c5b0e5

# What is made stands beside OUT, on its file system, and goes away whatever happens.
mkdir -p -- "$(dirname -- "$out")"
work=$(mktemp -d -- "$out.new.XXXXXXXX")
trap '"${become[@]}" rm -rf -- "$work"' EXIT
chmod 755 "$work"

if [[ -z $mirror ]]; then
    # shellcheck disable=SC2016  # apt's own variables
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 == "bookworm" && $3 == "Debian" && $4 == "main" { print $1; exit }')
    mirror=${mirror:-http://deb.debian.org/debian}
fi
security=${mirror%/}-security
sources=("deb $mirror bookworm main" "deb $mirror bookworm-updates main")
if curl -fsI --max-time 10 "$security/dists/bookworm-security/InRelease" >/dev/null 2>&1; then
    sources+=("deb $security bookworm-security main")
fi

step() {
    local label=$1 begin=$SECONDS
    shift
    if ! "$@" >"$work/log" 2>&1; then
        tail -n 25 -- "$work/log" >&2
        if (($(df --output=avail -k "$work" | tail -n 1) < 10240)); then
            die 1 "$label failed: no space left on the disk of ${out%/*}; see df -h, and iact cache sweep"
        fi
        die 1 "$label failed; see the lines above"
    fi
    echo "$label: $((SECONDS - begin)) s"
}

mapfile -t wanted < <(sed 's/[[:space:]]*#.*//; /^$/d' "$here/guest/packages.txt")
mapfile -t excluded < <(sed 's/[[:space:]]*#.*//; /^$/d; s/^/--dpkgopt=path-exclude=/' "$here/guest/excluded.txt")
packages=$(IFS=,; echo "${wanted[*]}")
printf '%s\n' "${sources[@]}" >"$work/sources.list"
step "packages" mmdebstrap --variant=minbase --include="$packages" --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io "${excluded[@]}" bookworm "$work/root.tar" "$work/sources.list"

mkdir "$work/new"
cat >"$work/pack.sh" <<'PACK'
set -euo pipefail
work=$1 here=$2 size=$3 uuid=$4
tree=$work/tree
mkdir "$tree"
# No devices: the kernel makes them at boot, and a user namespace may not.
tar --numeric-owner --exclude='./dev/*' -xf "$work/root.tar" -C "$tree"
rm "$work/root.tar"
"$here/guest.sh" "$tree"
cp -- "$(readlink -f "$tree"/boot/vmlinuz-*)" "$work/new/vmlinuz"
cp -- "$(readlink -f "$tree"/boot/initrd.img-*)" "$work/new/initrd.img"
chmod 644 "$work/new/"*
awk '/^Package: / { name = $2 } /^Version: / { print name, $2 }' "$tree/var/lib/dpkg/status" | sort >"$work/new/packages.txt"
rm -rf "$tree"/boot/*
truncate -s "$size" "$work/disk.raw"
mke2fs -q -t ext4 -L root -U "$uuid" -E "hash_seed=$uuid,lazy_itable_init=0" -m 0 -O '^resize_inode' -d "$tree" "$work/disk.raw"
rm -rf "$tree"
PACK
step "disk" "${become[@]}" bash "$work/pack.sh" "$work" "$here" "$size" "$uuid"
step "compression" qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$work/disk.raw" "$work/new/disk.qcow2"
sum=$(sha256sum <"$work/new/disk.qcow2") sum=${sum%% *}
printf '{"version": 1, "disk_sha256": "%s"}\n' "$sum" >"$work/new/image.json"

old=
if [[ -e $out ]]; then
    old=$work/old
    mv -T -- "$out" "$old"
fi
if ! mv -T -- "$work/new" "$out"; then
    [[ -z $old ]] || mv -T -- "$old" "$out"
    die 1 "cannot put $out in place"
fi
chmod 755 "$out"
echo "$(du -sh --apparent-size "$out" | cut -f 1) in $out, $(wc -l <"$out/packages.txt") packages, disk sha256 $sum"
