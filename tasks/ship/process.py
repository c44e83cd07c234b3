"""Processes that outlive who started them, and are found again for certain.

A process is known by its number and the time it started, so that another one that got its number is never signalled. It leads a
session of its own, carries no mark of the run that started it, and is no descendant of it: what ends a run's processes leaves it
alone. Linux: /proc tells the times.
"""

import os
import signal
import socket
import sys
import time

MARKS = ("IACT_ACTION", "IACT_EXPORTS", "MAKEFLAGS")


def stat(pid):
    """The fields of its `stat` from the state on; None if there is no such process, or it is a corpse."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else fields


def living():
    """Every process, with those fields."""
    found = ((int(name), stat(name)) for name in os.listdir("/proc") if name.isdigit())
    return ((pid, fields) for pid, fields in found if fields)


def started(pid):
    """When a process started, in the kernel's ticks; None if there is none."""
    fields = stat(pid)
    return int(fields[19]) if fields else None


def is_alive(process):
    """Whether it is this very process."""
    return bool(process) and started(process["pid"]) == process["started"]


def detach(work):
    """Runs `work` in a process that belongs to nobody, and returns what identifies that; `work` never returns."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            os.setsid()
            if os.fork() == 0:
                os.setpgid(0, 0)
                os.write(theirs, str(os.getpid()).encode())
                os.close(theirs)
                for mark in MARKS:
                    os.environ.pop(mark, None)
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                work()
        except BaseException as error:  # noqa: B036 - nothing may get back into the caller's code
            print(f"cannot start: {error}", file=sys.stderr)
        finally:
            os._exit(127)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        pid = int(pipe.read() or b"0")
    os.waitpid(child, 0)
    return {"pid": pid, "started": started(pid)}


def spawn(argv, env, log, folder="/"):
    """Starts a command that outlives us; what it says is added to the file `log`."""

    def work():
        nothing = os.open(os.devnull, os.O_RDONLY)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(nothing, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.closerange(3, 256)
        os.chdir(folder)
        os.execvpe(argv[0], argv, {name: value for name, value in env.items() if name not in MARKS})

    return detach(work)


def members(group):
    """Who is in a process group."""
    return [pid for pid, fields in living() if int(fields[2]) == group]


def children(pid):
    """What identifies the processes that this one has started."""
    return [{"pid": child, "started": int(fields[19])} for child, fields in living() if int(fields[1]) == pid]


def is_group_alive(process):
    """Whether anybody of the process's group is left. While there is, nobody else can get its number."""
    if not process:
        return False
    now = started(process["pid"])
    return now == process["started"] or (now is None and bool(members(process["pid"])))


def stop(processes, grace_s):
    """Asks whole groups to end, kills them after the grace, and returns when nobody is left."""
    wanted = [process for process in processes if is_group_alive(process)]
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10)):
        for process in wanted:
            try:
                os.killpg(process["pid"], number)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + patience_s
        while wanted and time.monotonic() < deadline:
            wanted = [process for process in wanted if is_group_alive(process)]
            time.sleep(0.02 if wanted else 0)
        if not wanted:
            return


def free_port():
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_taken(port):
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
