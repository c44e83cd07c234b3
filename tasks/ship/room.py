"""What an environment remembers, in a folder of its own: which colour is live, what runs, which releases there were.

    ROOT/ENVIRONMENT/   lock            held by who changes anything
                        state.json      version 1; replaced whole: {live, colours: {blue, green}, front, trial}
                        history.jsonl   one line for each deploy and rollback that was tried, with its end
                        env             NAME=VALUE lines for the application (optional, the user's own; mode 0600)
                        releases/       NAME.json: the two images of each release, and how they are started
                        store/          the unpacked images, by their content
                        data/           the application's state, of all releases
                        backups/        of `data`, from before each migration
                        blue/ green/ front/     logs, the front's configuration

`trial` is what a deploy has started and not yet finished. Who finds one under the lock knows that its deploy is dead, and undoes it.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

VERSION = 1
FOLDERS = ("releases", "store", "data", "backups", "blue", "green", "front")


class Refused(Exception):
    """Nothing was changed; the text says why and what helps."""


class Room:
    """One environment's folder."""

    def __init__(self, root, name):
        self.name, self.path = name, Path(root) / name
        self.state = self._read()

    def _read(self):
        try:
            state = json.loads((self.path / "state.json").read_text())
        except FileNotFoundError:
            state = {"version": VERSION, "live": None, "colours": {}, "front": None, "trial": None}
        except ValueError as error:
            raise Refused(f"{self.path}/state.json is damaged ({error}); stop what runs and remove it") from None
        if state.get("version") != VERSION:
            raise Refused(f"{self.path}/state.json is of another version of this tool")
        return state

    @contextlib.contextmanager
    def locked(self):
        """Nobody else changes the environment meanwhile."""
        for folder in FOLDERS:
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with open(self.path / "lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                who = lock.read().strip() or "another process"
                raise Refused(f"{self.name} is being changed by {who}; try again when that has ended") from None
            lock.truncate(0)
            lock.write(f"process {os.getpid()}")
            lock.flush()
            self.state = self._read()
            try:
                yield
            finally:
                lock.truncate(0)

    def save(self):
        """Replaces the state on disk."""
        partial = self.path / "state.json.partial"
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(self.state, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.path / "state.json")

    def record(self, event):
        """Adds a line to the history."""
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "environment": self.name, **event}
        with open(self.path / "history.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def history(self):
        """Every line of the history, the oldest first."""
        try:
            return [json.loads(line) for line in (self.path / "history.jsonl").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def settings(self):
        """The environment's own variables for the application."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for number, line in enumerate((self.path / "env").read_text().splitlines(), 1):
                if line.strip() and not line.lstrip().startswith("#"):
                    name, equals, value = line.partition("=")
                    if not equals or not name.strip().isidentifier():
                        raise Refused(f"{self.path}/env:{number}: expected NAME=VALUE")
                    found[name.strip()] = value.strip()
        return found

    @property
    def live(self):
        """What serves: its colour's record, or None."""
        return self.state["colours"].get(self.state["live"])

    @property
    def idle(self):
        """The colour that does not serve."""
        return "green" if self.state["live"] == "blue" else "blue"
