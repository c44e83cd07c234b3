#!/usr/bin/env bash
# In the guest, at each boot: makes databases and users that are not there, and gives the users the password
# that the host passed: through QEMU's firmware (opt/iact/password), or in /etc/iact/password. Without one nobody gets
# in from outside.
#
#   databases.sh
set -euo pipefail
umask 077

modprobe -q qemu_fw_cfg || true
for given in /sys/firmware/qemu_fw_cfg/by_name/opt/iact/password/raw /etc/iact/password; do
    if [[ -r $given ]]; then break; fi
done
[[ -r $given ]] || { echo "databases.sh: the host gave no password" >&2; exit 1; }
password=$(<"$given")
[[ $password =~ ^[A-Za-z0-9_.~-]{8,128}$ ]] || { echo "databases.sh: no usable password from the host" >&2; exit 1; }

# Texts go through standard input: no password on a command line.
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- psql -qAtX -v ON_ERROR_STOP=1 -d postgres; }
as_postgres <<SQL
SELECT 'CREATE ROLE django_user LOGIN CREATEDB' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'django_user') \gexec
ALTER ROLE django_user PASSWORD '$password';
ALTER ROLE postgres PASSWORD '$password';
SELECT 'CREATE DATABASE iact_analytics OWNER django_user' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'iact_analytics') \gexec
SQL
mariadb --batch <<SQL
CREATE DATABASE IF NOT EXISTS ivr_legacy CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS django_user@'10.0.2.%';
SET PASSWORD FOR django_user@'10.0.2.%' = PASSWORD('$password');
GRANT ALL PRIVILEGES ON ivr_legacy.* TO django_user@'10.0.2.%';
CREATE USER IF NOT EXISTS root@'10.0.2.%';
SET PASSWORD FOR root@'10.0.2.%' = PASSWORD('$password');
GRANT ALL PRIVILEGES ON *.* TO root@'10.0.2.%' WITH GRANT OPTION;
SQL
