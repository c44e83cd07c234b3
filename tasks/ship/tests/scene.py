"""A scratch environment for tests: a folder, a port, commands with their output, and at the end the proof that nothing is left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

import probe
import process
from room import Room

NAME = "scratch"
QUICK = ("checks=2", "every=0.2")


ROOM = 2 << 30


def roomy():
    """Memory, if there is enough: unpacked images are many small files."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM else None


class Scene:
    """Use as `with Scene() as scene`."""

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="ship-test-", dir=roomy()))
        self.root, self.port, self.claims, self.failures = self.path / "envs", process.free_port(), 0, 0
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        return self

    def __exit__(self, kind, error, _trace):
        self.deploy("stop", expect=None)
        deadline = time.monotonic() + 20
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.holds(f"nothing is left running: {left}", not left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.path) in line]
        self.holds(f"no mount is left: {mounts}", not mounts)
        shutil.rmtree(self.path)
        print(f"{self.claims - self.failures} of {self.claims} passed")

    def holds(self, claim, is_so):
        """Counts a claim."""
        self.claims += 1
        if not is_so:
            self.failures += 1
            print(f"FAIL {claim}", file=sys.stderr, flush=True)

    def left(self):
        """Processes that have to do with this scene."""
        found, mark = [], str(self.path).encode()
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                for file in ("cmdline", "environ"):
                    try:
                        if mark in Path("/proc", name, file).read_bytes():
                            found.append(int(name))
                            break
                    except OSError:
                        pass
        return found

    def run(self, argv, expect, *texts, **options):
        """Runs a command to its end: it has to end with the code `expect` and say every text."""
        options = {"timeout": 180, **options}
        said = subprocess.run(
            [str(word) for word in argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
            **options,
        )
        what = " ".join(Path(word).name if isinstance(word, Path) or str(word).startswith("/") else str(word) for word in argv)
        missing = [text for text in texts if text not in said.stdout]
        if expect is not None:
            self.holds(
                f"{what}: exit {said.returncode} instead of {expect}, without {missing}:\n{said.stdout}",
                said.returncode == expect and not missing,
            )
        return said.stdout

    def argv(self, verb, *words):
        """A command line of deploy.py."""
        return [sys.executable, "-B", HERE / "deploy.py", verb, self.root, NAME, *words]

    def deploy(self, verb, *words, expect=0, says=(), **options):
        """Runs deploy.py in the scratch environment."""
        return self.run(self.argv(verb, *words), expect, *says, **options)

    def begin(self, verb, *words):
        """Starts deploy.py as a run would, with its mark, and does not wait."""
        return subprocess.Popen(
            [str(word) for word in self.argv(verb, *words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "IACT_ACTION": "of-a-test.1"},
        )

    def room(self):
        """What the environment remembers now."""
        return Room(self.root, NAME)

    def await_(self, claim, is_so, patience_s=60):
        """Waits for something to become so."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if is_so():
                return True
            time.sleep(0.02)
        self.holds(f"{claim}, after {patience_s} s", False)
        return False

    def serves(self, release):
        """The environment is in the state in which only this release runs, and answers."""
        room = self.room()
        state = room.state
        self.holds(
            f"{release} is live: {state}",
            bool(room.live) and room.live["release"] == release and not state["trial"] and len(state["colours"]) == 1,
        )
        wrong = probe.ask_health(self.port, release)
        self.holds(f"{release} answers: {wrong}", wrong is None)
        wanted = {one["pid"] for one in room.live["processes"]} | {state["front"]["pid"]} if room.live else set()
        leaders = {pid for pid in self.left() if os.getpgid(pid) == pid}
        self.holds(f"only {sorted(wanted)} run: {sorted(leaders)}", leaders == wanted)


class Visitor(threading.Thread):
    """Asks the site all the time; every answer that was not right is remembered."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.asked, self.wrong, self.is_over = port, 0, [], threading.Event()

    def run(self):
        while not self.is_over.wait(0.02):
            status, body = probe.get(self.port, "/healthz")
            self.asked += 1
            if status != 200:
                self.wrong.append((status, body[:100]))

    def end(self):
        """Stops asking."""
        self.is_over.set()
        self.join()
