#!/usr/bin/env python3
"""Backups of volumes and configuration, and bundles, meet what goes wrong: messages, exit codes, and what is left.

Docker's volumes: with a daemon of its own (root, Debian package docker.io) that touches no network; skipped without. Needs
GNU tar, gzip; age for encrypted bundles, else those cases are skipped.
"""

import glob
import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def content(path):
    with open(path, "rb") as file:
        return file.read()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="test-backup-")
        self.addCleanup(shutil.rmtree, self.folder)
        for name, text in {"v/one/a": "1", "v/one/deep/b": "2", "v/two.x/c": "3", "private.env": "TOKEN=canary-7f"}.items():
            os.makedirs(os.path.dirname(f"{self.folder}/{name}"), exist_ok=True)
            with open(f"{self.folder}/{name}", "w") as file:
                file.write(text)

    def tearDown(self):
        left = [name for name in os.listdir(self.folder) if name.startswith(".")]
        self.assertEqual(left, [], "temporary files are left")

    def run_script(self, name, *arguments, **env):
        done = subprocess.run(
            [f"{HERE}/{name}", *arguments],
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        text = done.stdout + done.stderr
        assert "Traceback" not in text and "canary" not in text, text
        return done.returncode, text

    def fails(self, outcome, *texts, code=1):
        self.assertEqual(outcome[0], code, outcome[1])
        for text in texts:
            self.assertIn(text, outcome[1])

    def volumes(self, *more, **env):
        return self.run_script("volumes.sh", "out", "none.sock", "image", *more, **env)

    def test_every_volume_becomes_the_same_archive_again(self):
        code, said = self.volumes("v")
        self.assertEqual((code, said.splitlines()[-1]), (0, "2 volumes"), said)
        before = {name: content(f"{self.folder}/out/{name}") for name in os.listdir(f"{self.folder}/out")}
        self.assertEqual(sorted(before), ["SHA256SUMS", "one.tar.gz", "two.x.tar.gz"])
        shutil.rmtree(f"{self.folder}/v/two.x")
        self.assertEqual(self.volumes("v")[0], 0)
        self.assertEqual(sorted(os.listdir(f"{self.folder}/out")), ["SHA256SUMS", "one.tar.gz"])
        self.assertEqual(content(f"{self.folder}/out/one.tar.gz"), before["one.tar.gz"])
        with tarfile.open(f"{self.folder}/out/one.tar.gz") as archive:
            self.assertEqual(archive.extractfile("./deep/b").read(), b"2")

    def test_volumes_that_cannot_be_read_leave_the_old_archives(self):
        self.assertEqual(self.volumes("v")[0], 0)
        before = content(f"{self.folder}/out/SHA256SUMS")
        self.fails(self.volumes("absent"), "no such folder: absent", code=2)
        os.mkdir(f"{self.folder}/v/a b")
        self.fails(self.volumes("v"), "a volume with the name `a b`")
        os.rmdir(f"{self.folder}/v/a b")
        self.fails(self.volumes(), "docker" if shutil.which("docker") else "no `docker` here")
        self.fails(self.run_script("volumes.sh"), "usage", code=2)
        self.assertEqual(content(f"{self.folder}/out/SHA256SUMS"), before)

    def full(self, script, *arguments):
        """Runs a script whose output folder `full` is a disk of 40 kB."""
        os.mkdir(f"{self.folder}/full")
        unshared = [
            "unshare",
            "-rm",
            "bash",
            "-c",
            'mount -t tmpfs -o size=40k none full && "$@"; c=$?; ls -A full; exit $c',
            "-",
        ]
        if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
            self.skipTest("no right to mount a small file system: no user namespaces here")
        done = subprocess.run([*unshared, f"{HERE}/{script}", *arguments], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn("No space left on device", done.stderr)

    def test_a_full_disk_is_told_and_nothing_is_left_on_it(self):
        with open(f"{self.folder}/v/one/noise", "wb") as file:
            file.write(os.urandom(200_000))
        self.full("bundle.py", "pack", "full/b.tar", "v/one/noise")
        os.rmdir(f"{self.folder}/full")
        self.full("volumes.sh", "full/out", "none.sock", "image", "v")
        os.rmdir(f"{self.folder}/full")
        self.full("config.sh", "full/c.tar.gz", "v")

    def test_a_backup_that_is_interrupted_leaves_nothing(self):
        os.mkfifo(f"{self.folder}/slow")
        # The archive of a volume waits for a pipe that nobody writes to: tar stores pipes, so gzip is what is slow here.
        os.mkdir(f"{self.folder}/bin")
        with open(f"{self.folder}/bin/gzip", "w") as file:
            file.write("#!/bin/sh\nexec sleep 60\n")
        os.chmod(f"{self.folder}/bin/gzip", 0o755)  # nosec B103
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        argv = [f"{HERE}/volumes.sh", "out", "none.sock", "image", "v"]
        process = subprocess.Popen(
            argv, cwd=self.folder, env={**os.environ, "PATH": path}, start_new_session=True, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 30
        while not glob.glob(f"{self.folder}/.volumes.*/.pack.*") and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(10), 143)
        self.assertFalse(os.path.exists(f"{self.folder}/out"))

    def test_a_bundle_holds_what_it_says(self):
        pack = ["bundle.py", "pack", "b.tar", "v", "absent", "--private", "private.env"]
        code, said = self.run_script(*pack)
        self.assertEqual(code, 0, said)
        self.assertIn("not there, so not in the backup: absent", said)
        self.assertIn("private, so not in a backup that is not encrypted", said)
        whole = content(f"{self.folder}/b.tar")
        self.assertNotIn(b"canary", whole)
        self.assertEqual(self.run_script(*pack)[0], 0)
        self.assertEqual(content(f"{self.folder}/b.tar"), whole, "the same files, the same archive")
        self.assertEqual(self.run_script("bundle.py", "check", "b.tar")[0], 0)
        self.fails(self.run_script("bundle.py", "pack", "b.tar", "absent"), "nothing to back up")
        self.assertEqual(content(f"{self.folder}/b.tar"), whole)

    @staticmethod
    def changed(bundle, name, other, data):
        """The bundle with another member in the place of one."""
        made = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(bundle)) as old, tarfile.open(fileobj=made, mode="w") as new:
            for member in old:
                text = old.extractfile(member).read()
                if member.name == name:
                    member.name, text, member.size = other, data, len(data)
                new.addfile(member, io.BytesIO(text))
        return made.getvalue()

    def test_a_damaged_bundle_is_named(self):
        with open(f"{self.folder}/v/one/x.gz", "wb") as file:
            file.write(subprocess.run(["gzip", "-c"], input=os.urandom(5000), capture_output=True).stdout[:-30])
        self.assertEqual(self.run_script("bundle.py", "pack", "b.tar", "v")[0], 0)
        self.fails(self.run_script("bundle.py", "check", "b.tar"), "`v/one/x.gz` is truncated")
        os.unlink(f"{self.folder}/v/one/x.gz")
        self.assertEqual(self.run_script("bundle.py", "pack", "b.tar", "v")[0], 0)
        whole = content(f"{self.folder}/b.tar")
        for data, said in [
            (whole[:2500], "are missing"),
            (whole[: len(whole) // 4 // 512 * 512], "damaged"),
            (b"", "damaged"),
            (self.changed(whole, "v/two.x/c", "v/two.x/d", b"3"), "`v/two.x/d` is not in its manifest"),
            (self.changed(whole, "v/one/deep/b", "v/one/deep/b", b"3"), "`v/one/deep/b` is not what its manifest says"),
        ]:
            with open(f"{self.folder}/bad.tar", "wb") as file:
                file.write(data)
            self.fails(self.run_script("bundle.py", "check", "bad.tar"), said)
        with tarfile.open(f"{self.folder}/bad.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo("other"), io.BytesIO())
        self.fails(self.run_script("bundle.py", "check", "bad.tar"), "this is no backup")
        self.fails(self.run_script("bundle.py", "check", "absent.tar"), "No such file")

    @unittest.skipUnless(shutil.which("age"), "no `age` here: apt-get install age")
    def test_an_encrypted_bundle_holds_what_is_private_and_needs_its_key(self):
        key = f"{self.folder}/key"
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        recipient = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
        pack = ["bundle.py", "pack", "b.tar.age", "v", "--private", "private.env", "--recipient"]
        self.assertEqual(self.run_script(*pack, recipient)[0], 0)
        code, said = self.run_script("bundle.py", "check", "b.tar.age", "--identity", key)
        self.assertEqual((code, "4 files" in said), (0, True), said)
        self.fails(self.run_script("bundle.py", "check", "b.tar.age"), "is encrypted: age_identity=FILE")
        self.fails(self.run_script("bundle.py", "check", "b.tar.age", "--identity", "gone"), "is encrypted: age_identity=FILE")
        whole = content(f"{self.folder}/b.tar.age")
        self.fails(self.run_script(*pack, "age1nobody"), "age failed: ", "malformed recipient")
        self.assertEqual(content(f"{self.folder}/b.tar.age"), whole)

    def test_configuration_is_the_same_archive_without_private_files(self):
        for name in ("c/.env", "c/server.key", "c/app.toml"):
            os.makedirs(f"{self.folder}/c", exist_ok=True)
            with open(f"{self.folder}/{name}", "w") as file:
                file.write("canary")
        self.assertEqual(self.run_script("config.sh", "o.tar.gz", "c", "absent")[0], 0)
        first = content(f"{self.folder}/o.tar.gz")
        os.utime(f"{self.folder}/c/app.toml", (1, 1))
        self.assertEqual(self.run_script("config.sh", "o.tar.gz", "c")[0], 0)
        self.assertEqual(content(f"{self.folder}/o.tar.gz"), first)
        with tarfile.open(f"{self.folder}/o.tar.gz") as archive:
            self.assertEqual(archive.getnames(), ["c/app.toml"])
        self.fails(self.run_script("config.sh", "o.tar.gz", "absent"), "nothing to pack")

    @unittest.skipUnless(
        os.geteuid() == 0 and shutil.which("dockerd"), "no Docker daemon of our own: needs root and docker.io"
    )
    def test_dockers_volumes_are_found_when_it_runs(self):
        socket = f"{self.folder}/d.sock"
        with open(f"{self.folder}/docker.log", "wb") as log:
            argv = [
                "dockerd",
                "--data-root",
                f"{self.folder}/root",
                "--exec-root",
                f"{self.folder}/exec",
                "-H",
                f"unix://{socket}",
            ]
            argv += ["-p", f"{self.folder}/pid", "--iptables=false", "--ip6tables=false", "--bridge=none"]
            daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            docker = ["docker", "-H", f"unix://{socket}"]
            end = time.monotonic() + 60
            while subprocess.run([*docker, "version"], capture_output=True).returncode:
                if time.monotonic() > end or daemon.poll() is not None:
                    self.skipTest(f"dockerd does not start here: {content(f'{self.folder}/docker.log')[-300:]}")
                time.sleep(0.2)
            for name in ("data", "more"):
                subprocess.run([*docker, "volume", "create", name], check=True, capture_output=True)
            with open(f"{self.folder}/root/volumes/data/_data/file", "w") as file:
                file.write("kept")
            code, said = self.run_script("volumes.sh", "out", socket, "image")
            self.assertEqual((code, said.splitlines()[-1]), (0, "2 volumes"), said)
            with tarfile.open(f"{self.folder}/out/data.tar.gz") as archive:
                self.assertEqual(archive.extractfile("./file").read(), b"kept")
        finally:
            daemon.terminate()
            daemon.wait(30)
            subprocess.run(["umount", f"{self.folder}/exec/netns/default"], capture_output=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
