"""A worker that finishes or undoes its work even if whoever asked for it is killed.

The caller stays in front: it passes on what the worker says and ends with its exit code. The worker is nobody's child (see `process`).
It holds one end of a pipe whose other end dies with the caller, however that dies, and looks at it wherever it waits: `Abandoned` is
raised there, and undone like any other failure. A signal to the caller is the same; the caller then waits for the undoing.
"""

import os
import select
import signal
import sys

import process


class Abandoned(Exception):
    """Whoever wanted this is gone."""


class Link:
    """The worker's end."""

    def __init__(self, said, alive, log):
        self.said, self.alive, self.log = said, alive, log

    def say(self, text):
        """A line for the caller and for the log."""
        line = f"{text}\n".encode()
        os.write(self.log, line)
        try:
            os.write(self.said, line)
        except OSError:
            pass

    def pause(self, seconds):
        """Waits, unless nobody waits for us any more."""
        if select.select([self.alive], [], [], seconds)[0]:
            raise Abandoned("whoever asked for this was ended")


WORKER = "DEPLOY_WORKER"


def run(work, log):
    """Does `work(link)`, which returns an exit code, in a worker; returns that code.

    The worker is this program, started anew: a fork alone would show the environment of the run that started us, and its mark."""
    given = os.environ.pop(WORKER, None)
    if given:
        do_work(work, log, *map(int, given.split(",")))
    said_here, said = os.pipe()
    alive, alive_here = os.pipe()
    end_here, end = os.pipe()
    caught = []

    def ask_to_end(number, _frame):
        if not caught:
            os.close(alive_here)
        caught.append(number)

    def worker():
        for number in (said, alive, end):
            os.set_inheritable(number, True)
        os.environ[WORKER] = f"{said},{alive},{end}"
        os.execv(sys.executable, [sys.executable, "-B", os.path.abspath(sys.argv[0]), *sys.argv[1:]])

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_end)
    process.detach(worker)
    for number in (said, alive, end):
        os.close(number)
    while data := os.read(said_here, 1 << 16):
        os.write(sys.stdout.fileno(), data)
    code = os.read(end_here, 16)
    if caught:
        return 128 + caught[0]
    if not code:
        print(f"deploy.py: the worker died; see {log}", file=sys.stderr)
        return 1
    return int(code)


def do_work(work, log, said, alive, end):
    """The worker's whole life."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (said, alive, end):
        os.set_inheritable(number, False)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for here, there in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(here, there)
    code = work(Link(said, alive, file))
    try:
        os.write(end, str(code).encode())
    except OSError:
        pass
    os._exit(0)
