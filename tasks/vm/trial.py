"""A machine that a script starts for itself and that ends with it, killed or not.

The kernel is told to end the machine with its parent (`prctl`): neither an error nor SIGKILL leaves a QEMU behind.
"""

import ctypes
import pathlib
import signal
import subprocess
import sys

import guest_databases

PR_SET_PDEATHSIG = 1


def die_with_parent():
    """In the child, before it becomes what it will be."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Trial:
    """boot.py in the background. What it and the guest say is in FOLDER/console.log."""

    def __init__(self, image, folder, **options):
        boot = pathlib.Path(__file__).parent / "boot.py"
        command = [sys.executable, str(boot), str(image), str(folder)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self.folder, self.command = pathlib.Path(folder), command

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "console.log", "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def said(self):
        """What it and the guest said."""
        return (self.folder / "console.log").read_text(errors="replace")

    def wait(self, limit_s=600):
        """Until both databases answer."""
        guest_databases.wait(self.folder, limit_s, lambda: self.process.poll() is None)
