#!/usr/bin/env bash
# Configures PostgreSQL and MariaDB of a Debian 12 for clients outside the guest, and the unit that makes the
# databases. The same for QEMU's image and for Vagrant's machine; calling it twice changes nothing.
#
#   configure.sh ROOT       ROOT is the guest's root folder: / in it, or an unpacked tree
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if (($# != 1)) || [[ ! -d $1/etc/postgresql/15/main || ! -d $1/etc/mysql/mariadb.conf.d ]]; then
    echo "usage: configure.sh ROOT, with PostgreSQL 15 and MariaDB installed in it" >&2
    exit 2
fi
root=${1%/}

# PostgreSQL: everybody from outside proves a password.
conf=$root/etc/postgresql/15/main
cat >"$conf/conf.d/iact.conf" <<'CONF'
listen_addresses = '*'
jit = off
ssl = off
shared_buffers = 64MB
CONF
chmod 644 "$conf/conf.d/iact.conf"
rule='host all all 10.0.2.0/24 scram-sha-256'
grep -qxF "$rule" "$conf/pg_hba.conf" || echo "$rule" >>"$conf/pg_hba.conf"

# MariaDB. Without skip-name-resolve its greeting waits for a name server that is not there.
cat >"$root/etc/mysql/mariadb.conf.d/99-iact.cnf" <<'CONF'
[mysqld]
bind-address = 0.0.0.0
skip-name-resolve
innodb_buffer_pool_size = 64M
performance_schema = off
CONF

install -D -m 755 "$here/databases.sh" "$root/usr/local/lib/iact/databases.sh"
install -m 644 "$here/iact-databases.service" "$root/etc/systemd/system/iact-databases.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../iact-databases.service "$root/etc/systemd/system/multi-user.target.wants/"
