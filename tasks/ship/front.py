"""The front: nginx on the environment's port, which passes everything on to the colour that is live.

Switching replaces one file and makes nginx read it again: requests under way end where they began, none is refused. They are in the
hands of the workers from before, which end with the last of them: until then what they pass on to has to stay.
"""

import os
import signal
import subprocess
import time

import probe
import process
from room import Refused

GRACE_S = 5
DRAIN_S = 35  # longer than any request may take
CONFIGURATION = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_set_header Host $http_host;
            proxy_connect_timeout 2s;
            proxy_read_timeout 30s;
            proxy_next_upstream off;
            add_header X-Release {release} always;
        }}
    }}
}}
"""


def nginx():
    """The program, which Debian keeps out of an ordinary user's PATH."""
    for folder in [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/local/sbin"]:
        if folder and os.access(f"{folder}/nginx", os.X_OK):
            return f"{folder}/nginx"
    raise Refused("there is no nginx here; sudo apt-get install nginx-light")


class Front:
    """The front of one environment."""

    def __init__(self, room):
        self.room, self.folder = room, room.path / "front"
        self.workers_before = []

    def is_up(self):
        """Whether our nginx runs."""
        return process.is_alive(self.room.state["front"])

    def demand_port(self, port):
        """Refuses a port that somebody else has."""
        front = self.room.state["front"]
        if self.is_up() and front["port"] == port:
            return
        if process.is_taken(port):
            raise Refused(f"port {port} is taken by another program (`ss -ltnp` shows by which); end it or name another port")

    def _write(self, port, colour):
        text = CONFIGURATION.format(
            folder=self.folder, port=port, behind=colour["ports"]["frontend"], release=colour["release"]
        )
        partial = self.folder / "nginx.conf.partial"
        partial.write_text(text)
        said = subprocess.run(self._argv(partial) + ["-t", "-q"], capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise Refused(f"nginx refuses its configuration: {said.stderr.strip()}")
        partial.rename(self.folder / "nginx.conf")

    def _argv(self, file):
        return [nginx(), "-e", str(self.folder / "error.log"), "-p", str(self.folder), "-c", str(file)]

    def point_to(self, port, colour):
        """Makes a colour the one behind the port."""
        self._write(port, colour)
        front = self.room.state["front"]
        if self.is_up() and front["port"] == port:
            self.workers_before = process.children(front["pid"])
            os.kill(front["pid"], signal.SIGHUP)
            return
        self.stop()
        argv = self._argv(self.folder / "nginx.conf")
        self.room.state["front"] = {**process.spawn(argv, dict(os.environ), self.folder / "nginx.log"), "port": port}
        self.room.save()

    def wait_for(self, colour, patience_s=10):
        """Waits until the port is answered by that colour; why it is not, or None."""
        deadline = time.monotonic() + patience_s
        while True:
            wrong = probe.ask_health(self.room.state["front"]["port"], colour["release"])
            if wrong is None or time.monotonic() > deadline:
                return wrong
            time.sleep(0.05)

    def drain(self):
        """Waits for the requests that began before the last switch."""
        deadline = time.monotonic() + DRAIN_S
        while any(process.is_alive(worker) for worker in self.workers_before) and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self):
        """Ends our nginx."""
        if self.room.state["front"]:
            process.stop([self.room.state["front"]], GRACE_S)
            self.room.state["front"] = None
            self.room.save()
