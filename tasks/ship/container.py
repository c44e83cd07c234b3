"""Runs an unpacked image: its files read-only as the root, a state folder, the network of the machine, an ordinary user, no rights.

bubblewrap makes the namespaces. They live as long as their processes, so neither a mount nor a container can be left behind,
whatever is killed, and no daemon and no root is needed.
"""

import os

STATE = "/var/lib/callcentersite"


def command(image, state, extra, arguments):
    """The command line that runs an unpacked image, and its environment.

    `image` has the folder `root` and the configuration; `extra` is added to the image's own variables."""
    config = image.config.get("config", {})
    env = dict(entry.split("=", 1) for entry in config.get("Env", []))
    env = {"HOME": "/tmp", **env, **extra}
    user = (config.get("User") or "1000:1000").split(":")
    argv = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--uid", user[0], "--gid", user[-1], "--cap-drop", "ALL", "--hostname", "callcentersite"]
    argv += ["--ro-bind", str(image.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]
    if os.path.isdir(f"{image.root}{STATE}"):
        argv += ["--bind", str(state), STATE]
    argv += ["--chdir", config.get("WorkingDir") or "/", *config.get("Entrypoint", []), *arguments]
    return argv, env
