#!/usr/bin/env bash
# In Vagrant's machine, as root: installs both databases and configures them as in QEMU's image. Calling it again changes
# nothing but the password.
#
#   DB_PASSWORD=… provision.sh [FOLDER]       FOLDER: where tasks/vm/guest was copied to, by default /tmp/iact-guest
set -euo pipefail
umask 022

guest=${1-/tmp/iact-guest}
if [[ ! ${DB_PASSWORD-} =~ ^[A-Za-z0-9_.~-]{8,128}$ ]]; then
    echo "provision.sh: set DB_PASSWORD to 8 to 128 letters, digits or . _ ~ - and run \`vagrant provision\`" >&2
    exit 2
fi
if [[ ! -x $guest/configure.sh ]]; then
    echo "provision.sh: no $guest/configure.sh; \`vagrant provision\` copies it" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends postgresql-15 mariadb-server >/dev/null
"$guest/configure.sh" /
(umask 077 && mkdir -p /etc/iact && printf '%s\n' "$DB_PASSWORD" >/etc/iact/password)
systemctl daemon-reload
systemctl restart postgresql mariadb iact-databases
systemctl is-active postgresql mariadb iact-databases
