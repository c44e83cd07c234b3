# shellcheck shell=bash
# Sourced by the services of this folder: a database server refuses to run as root, so root hands over to an ordinary
# user; whoever is one already stays. And ports. Needs setpriv (util-linux) when root.

# own USER FOLDER…: root gives the folders to USER.
own() {
    local user=$1
    shift
    ((EUID != 0)) || chown -R -- "$user" "$@"
}

# as USER COMMAND…: replaces this shell by COMMAND, as USER if this is root. Of root's rights only the one to pass
# through closed folders is kept, for a workspace below one that is root's alone; no_setuid_fixup lets access(2) know of it, too,
# or MariaDB takes its own files for absent, makes new ones, and then believes that its tables were moved here, and damaged.
as() {
    local user=$1 keep=(--inh-caps=-all) bits=--securebits=+no_setuid_fixup
    shift
    ((EUID == 0)) || exec "$@"
    if setpriv "$bits" --inh-caps=+dac_read_search --ambient-caps=+dac_read_search true 2>/dev/null; then
        keep=("$bits" --inh-caps="-all,+dac_read_search" --ambient-caps="-all,+dac_read_search")
    fi
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "${keep[@]}" -- "$@"
}

# user_of NAME…: the first of these users that this machine has, else nobody.
user_of() {
    local name
    for name in "$@"; do
        if id -u "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo nobody
}

# free PORT: nobody listens there.
free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
