#!/usr/bin/env python3
"""Publishes small archives, made by a real iact in a scratch workspace, to registries with every kind of trouble.

Run by iact, or with `iact` on PATH. Without network. Also the wrong arguments of bench.py and reproducible.sh.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import publish

HERE = Path(__file__).resolve().parent
NAME = "cpython-3.13.5-debian12-build1"
IACTFILE = f"""
[vars]
content = "one"
[target.archive]
inputs  = []
outputs = ["dist/{NAME}.tgz", "dist/{NAME}.tgz.sha256"]
run     = "printf '%300000s' {{{{ content }}}} > {{{{ out }}}}; cd dist; sha256sum {NAME}.tgz > {NAME}.tgz.sha256"
[target.publish]
deps    = ["archive"]
untracked_env = ["IACT_CACHE_DIR"]
run     = "{sys.executable} {HERE}/publish.py {{{{ out_of('archive') }}}} registry"
"""


class Registry(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="registry-test.")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "Iactfile.toml").write_text(IACTFILE)
        self.archive, self.release = self.root / f"dist/{NAME}.tgz", self.root / "registry" / NAME
        # Inside another user namespace, who runs this cannot be seen.
        (self.root / "bin").mkdir()
        (self.root / "bin/iact").symlink_to(os.path.realpath(publish.iact()))
        self.env = {
            "PATH": f"{folder.name}/bin:{os.environ['PATH']}",
            "HOME": folder.name,
            "IACT_CACHE_DIR": f"{folder.name}/cache",
        }
        self.env |= {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}

    def expect(self, code, told, *words):
        done = subprocess.run(words, cwd=self.root, env=self.env, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done)
        self.assertIn(told, done.stdout + done.stderr)
        return done

    def build(self, code, told, *words):
        return self.expect(code, told, publish.iact(), *words)

    def publish(self, code, told, archive=f"dist/{NAME}.tgz", registry="registry"):
        return self.expect(code, told, sys.executable, HERE / "publish.py", archive, registry)

    def table(self, code, told):
        return self.expect(code, told, sys.executable, HERE / "registry.py", "registry")

    def content(self):
        """Every file of the registry."""
        files = sorted(path for path in (self.root / "registry").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def test_it_is_published_once_with_the_record_of_the_cache(self):
        self.table(0, "nothing is published")
        self.build(0, "published in registry", "publish")
        record = json.loads((self.release / "record.json").read_text())
        known = json.loads(self.build(0, "archive", "cache", "ls", "--json").stdout)
        entry = next(entry for entry in known if entry["target"] == "archive")
        self.assertEqual((record["fingerprint"], record["took_ms"]), (entry["fingerprint"], entry["duration_ms"]))
        self.assertEqual((self.release / f"{NAME}.tgz").read_bytes(), self.archive.read_bytes())
        self.assertEqual(json.loads((self.root / "registry/index.json").read_text()), [record])
        self.assertIn("| 3.13.5 | 1 | debian12 |", (self.root / "registry/ARTIFACTS.md").read_text())
        before = self.content()
        self.build(0, "published already", "publish")
        self.table(0, "active")
        self.assertEqual(self.content(), before)

    def test_nothing_is_published_over_another_content(self):
        self.build(0, "published in registry", "publish")
        before = self.content()
        self.build(1, "nothing is overwritten: raise build=", "publish", "content=two")
        self.assertEqual(self.content(), before)

    def test_what_is_damaged_is_said_and_not_mended_behind_ones_back(self):
        self.build(0, "published in registry", "publish")
        file = self.release / f"{NAME}.tgz"
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1])
        before = self.content()
        self.build(1, "is damaged: expected", "publish")
        self.assertIn("is damaged: expected", self.table(1, "damaged").stderr)
        (self.release / "record.json").unlink()
        self.build(1, "record.json", "publish")
        self.table(1, "cannot be read")
        self.assertEqual(self.content(), {path: sum_ for path, sum_ in before.items() if not path.endswith("record.json")})

    def test_age_shows(self):
        self.build(0, "published in registry", "publish")
        path = self.release / "record.json"
        path.chmod(0o644)
        for days, state in [(100, "active"), (200, "deprecated"), (400, "archived")]:
            record = json.loads(path.read_text()) | {"published_unix_ms": (int(time.time()) - days * 86400) * 1000}
            path.write_text(json.dumps(record))
            self.table(0, state)

    def test_a_wrong_archive_is_refused(self):
        self.build(0, "", "archive")
        self.publish(1, "is not cpython-X.Y.Z", archive="dist/python.tgz")
        self.publish(1, "iact build cpython-build", archive=f"dist/{NAME.replace('build1', 'build2')}.tgz")
        with open(self.archive, "a") as file:
            file.write("more")
        self.publish(1, "wrong checksum")
        signed = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        self.archive.with_name(f"{NAME}.tgz.sha256").write_text(f"{signed}  {NAME}.tgz\n")
        self.publish(1, "is not what the cache holds")
        self.assertEqual(self.content(), {})
        self.expect(2, "usage", sys.executable, HERE / "publish.py")
        self.expect(2, "usage", sys.executable, HERE / "registry.py")

    def test_what_is_not_in_the_cache_is_refused_and_a_killed_one_leaves_nothing(self):
        self.build(0, "", "archive", "--no-cache")
        command = [sys.executable, HERE / "publish.py", f"dist/{NAME}.tgz", "registry"]
        with subprocess.Popen(command, cwd=self.root, env=self.env, stderr=subprocess.PIPE) as waiting:
            time.sleep(1)
            waiting.send_signal(signal.SIGTERM)
        self.assertEqual(waiting.returncode, 143)
        self.assertEqual(self.content(), {})
        self.publish(1, "the cache has no record")

    def test_what_a_killed_one_left_goes(self):
        left = self.root / "registry/.new-left/x"
        left.parent.mkdir(parents=True)
        left.touch()
        self.build(0, "published in registry", "publish")
        self.assertFalse(left.parent.exists())

    def test_a_full_disk_leaves_the_registry_as_it_was(self):
        room = ["unshare", "-Urm", "sh", "-c"]
        if subprocess.run([*room, "mount -t tmpfs none /mnt"], capture_output=True).returncode != 0:
            self.skipTest("a small disk needs user namespaces")
        self.build(0, "", "archive")
        publishing = f"{sys.executable} {HERE}/publish.py dist/{NAME}.tgz registry"
        script = f"mkdir registry && mount -t tmpfs -o size=100k none registry && ! {publishing} && ls -A registry | wc -l"
        done = self.expect(0, "0\n", *room, script)
        self.assertRegex(done.stderr, "(?i)no space|os error 28|make room")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_registry_that_cannot_be_written(self):
        self.build(0, "", "archive")
        (self.root / "registry").mkdir(0o555)
        self.publish(1, "choose another registry=")


class Rest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="registry-test.")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def expect(self, code, told, *words):
        done = subprocess.run(words, cwd=self.root, capture_output=True, text=True)
        self.assertEqual((done.returncode, list(self.root.glob("result*"))), (code, []), done)
        self.assertIn(told, done.stdout + done.stderr)

    def test_bench(self):
        bench = [sys.executable, HERE / "bench.py"]
        self.expect(2, "usage", *bench)
        self.expect(1, "is not cpython-X.Y.Z", *bench, "python.tgz", sys.executable, "result")
        self.expect(1, "cannot unpack", *bench, f"{NAME}.tgz", sys.executable, "result")
        self.expect(1, "name another interpreter: bench_against=", *bench, f"{NAME}.tgz", "no-such-python", "result")
        python = self.root / "python-3.13.5/bin/python3.13"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\necho 0.001 another\n")
        python.chmod(0o755)
        subprocess.run(["tar", "-czf", f"{NAME}.tgz", "python-3.13.5"], cwd=self.root, check=True)
        self.expect(1, "computes another result of `calls`", *bench, f"{NAME}.tgz", sys.executable, "result")

    def test_reproducible(self):
        script = HERE / "reproducible.sh"
        self.expect(2, "usage", script)
        self.expect(2, "optimize=no", script, "source", "archive", "yes")
        self.expect(2, "no such archive", script, "source", "archive", "no")
        # With a build.sh that makes what it is told, beside a copy of the script.
        (self.root / "source").touch()
        copy = Path(shutil.copy(script, self.root))
        shutil.copy(HERE / "scratch.sh", self.root)
        build = self.root / "build.sh"
        build.write_text('#!/bin/sh\nmkdir -p p && echo "$CONTENT" >p/file && tar -cf - p | gzip -n >"$2"\n')
        build.chmod(0o755)
        (self.root / "p").mkdir()
        (self.root / "p/file").write_text("other\n")
        subprocess.run("tar -cf - p | gzip -n > a.tgz", shell=True, cwd=self.root, check=True)
        self.expect(1, "    p/file", "env", "CONTENT=one", copy, "source", "a.tgz", "no")


if __name__ == "__main__":
    unittest.main()
