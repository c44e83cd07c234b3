"""QEMU's monitor (QMP) over its socket: one command, one answer, events left aside.

A socket that refuses is what a machine leaves that was killed: `Gone` says so, and nothing else is raised for it.
"""

import json
import socket


class Gone(Exception):
    """No machine listens there (any more)."""


class Monitor:
    """A connection to a running machine."""

    def __init__(self, path, timeout_s=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(str(path))
        except OSError as error:
            self.socket.close()
            raise Gone(f"no machine listens at {path} ({error.strerror or error})") from None
        self.lines = self.socket.makefile("r")
        self._next()
        self.do("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def _next(self):
        try:
            line = self.lines.readline()
        except OSError as error:
            raise Gone(f"the machine does not answer ({error})") from None
        if not line:
            raise Gone("the machine ended")
        return json.loads(line)

    def do(self, command, **arguments):
        """The command's answer; a refusal is a `RuntimeError` with QEMU's own words."""
        order = {"execute": command}
        if arguments:
            order["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self.socket.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise Gone(f"the machine ended ({error})") from None
        while True:
            answer = self._next()
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
