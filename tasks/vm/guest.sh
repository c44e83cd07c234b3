#!/usr/bin/env bash
# Configures an unpacked Debian tree as the guest: network, both databases (guest/configure.sh), nothing that slows booting.
#
#   guest.sh TREE
#
# Touches nothing outside TREE; has to own it (root, or root of a user namespace). Called by image.sh.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if (($# != 1)) || [[ ! -d $1/etc/postgresql ]]; then
    echo "usage: guest.sh TREE, with PostgreSQL and MariaDB installed in it" >&2
    exit 2
fi
tree=$1
units=$tree/etc/systemd/system
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}

echo callcenter-analytics >"$tree/etc/hostname"
printf '127.0.0.1 localhost callcenter-analytics\n' >"$tree/etc/hosts"
printf '/dev/vda / ext4 defaults,noatime 0 1\n' >"$tree/etc/fstab"
: >"$tree/etc/machine-id"
: >"$tree/etc/resolv.conf"

# QEMU's user network: one address, known beforehand, so that nothing waits for DHCP.
mkdir -p "$tree/etc/systemd/network" "$units/multi-user.target.wants"
printf '[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' \
    >"$tree/etc/systemd/network/10-user.network"
ln -sf /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"

"$here/guest/configure.sh" "$tree"

# What only costs time at boot in a machine that lives for minutes.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer fstrim.timer \
    man-db.timer systemd-timesyncd.service getty@tty1.service systemd-pstore.service; do
    ln -sf /dev/null "$units/$unit"
done

# What installing left behind.
rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/*.bin "$tree"/var/cache/apt/archives/*.deb \
    "$tree"/var/cache/debconf/*-old "$tree"/var/lib/dpkg/*-old "$tree"/var/log/*.log "$tree"/var/log/apt "$tree"/tmp/* "$tree"/run/*
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" ! -type l -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
