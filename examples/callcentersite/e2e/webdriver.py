"""A headless Chromium, driven through chromedriver by the W3C WebDriver protocol: the few commands these tests need.

The profile is a folder of its own that goes with the browser. Chromedriver ends with its process group, and its browser with it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


class Browser:
    """One page. Use as a context manager."""

    def __enter__(self):
        self.profile = tempfile.mkdtemp(prefix="iact-e2e-")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            self.base = f"http://127.0.0.1:{self._port()}"
            # Chromium's own sandbox does not work for root.
            flags = [*FLAGS, f"--user-data-dir={self.profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            options = {"goog:chromeOptions": {"args": flags}, "pageLoadStrategy": "eager"}
            made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})
            self.base += f"/session/{made['sessionId']}"
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        try:
            self._ask("DELETE", "", None)
        finally:
            self._end()

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def run(self, script):
        """What a piece of JavaScript returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def click(self, selector):
        """As a person would: it must be there and not be covered."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{next(iter(found.values()))}/click", {})

    def text(self, selector):
        return self.run(f"return [...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")

    def until(self, script, timeout_s=20):
        """Waits until a piece of JavaScript returns something true, and returns it."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"not in {timeout_s} s: {script}\n{self.text('body')}"
            time.sleep(0.05)
        return value

    def _port(self):
        said = []
        for line in self.driver.stdout:
            said.append(line)
            if match := re.search(r"started successfully on port (\d+)", line):
                return match[1]
        raise RuntimeError("chromedriver does not start: " + "".join(said))

    def _ask(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as refused:
            raise RuntimeError(json.load(refused)["value"]["message"]) from None

    def _end(self):
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
