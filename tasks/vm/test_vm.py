#!/usr/bin/env python3
"""Plants defects and sees that the scripts of this folder name each one, keep what was there and leave nothing running.

    test_vm.py IMAGE       a good image; it is only read

Works in a scratch folder and in namespaces of its own, where a small disk can be filled without root. Boots the machine
several times; needs what the scripts need. Cases that this machine does not allow are named, not passed over.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import machine
import protocol
import qmp
from guest_databases import ANALYTICS, LEGACY, Databases
from trial import Trial

HERE = pathlib.Path(__file__).absolute().parent
FULL_DISK = "IACT_TEST_FULL_DISK"


class Test:
    """Counts claims; a false one is told and the rest goes on."""

    def __init__(self, image, work):
        self.image, self.work = image, work
        self.claims = self.failed = 0

    def holds(self, claim, true, said=""):
        self.claims += 1
        if not true:
            self.failed += 1
            print(f"FAIL {claim}\n{said}", file=sys.stderr)

    def expect(self, code, texts, *command, **options):
        """The command exits with that code and says every text."""
        command = [str(HERE / command[0]), *map(str, command[1:])]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
        said = done.stdout + done.stderr
        name = f"{pathlib.Path(command[0]).name} {' '.join(command[1:])}"
        self.holds(f"{name}: exit {done.returncode} instead of {code}", done.returncode == code, said)
        for text in texts:
            self.holds(f"{name}: does not say `{text}`", text in said, said)

    def left(self):
        """Processes that work in the scratch folder."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd").startswith(str(self.work)) and int(process.name) != os.getpid():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
            except OSError:
                continue
        return found

    def nothing_left(self, after):
        end = time.monotonic() + 5
        while self.left() and time.monotonic() < end:
            time.sleep(0.05)
        self.holds(f"nothing runs after {after}", not self.left(), str(self.left()))


def snapshot_of(folder):
    """Names, sizes and times of a folder: whether anything in it moved."""
    return sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def usage(test):
    for script in ("check.py", "snapshot.py", "restore.py", "image.sh", "guest.sh", "guest/configure.sh", "vagrant.sh"):
        test.expect(2, ["usage"], script)
    test.expect(2, ["usage"], "boot.py")
    test.expect(2, ["is no size of a disk"], "image.sh", test.work / "out", "4 gigabytes")
    test.expect(2, ["set DB_PASSWORD"], "provision.sh", env={"PATH": os.environ["PATH"], "DB_PASSWORD": "';--"})


def missing_tools(test):
    """Without QEMU, without mmdebstrap."""
    few = test.work / "few"
    few.mkdir()
    for tool in ("bash", "env", "dirname", "realpath", "python3", "id"):
        (few / tool).symlink_to(sys.executable if tool == "python3" else shutil.which(tool))
    env = {"PATH": str(few)}
    test.expect(4, ["no qemu-img on PATH", "iact setup"], "boot.py", test.image, test.work / "none", env=env)
    env = {"PATH": str(few), "LC_ALL": "C"}
    test.expect(4, ["no mmdebstrap", "iact setup"], "image.sh", test.work / "out", "1G", env={**env})


def ports(test):
    """A port that somebody has; ports where nobody, or no database, answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        test.expect(
            1,
            [f"port {port} for PostgreSQL is taken", "vm_postgres_port=PORT"],
            "boot.py",
            test.image,
            test.work / "taken",
            "--postgres-port",
            port,
        )
        test.expect(
            1,
            [f"port {port} for MariaDB is taken", "vm_mariadb_port=PORT"],
            "boot.py",
            test.image,
            test.work / "taken",
            "--mariadb-port",
            port,
        )
    free = machine.free_port()
    for speak in (protocol.postgres, protocol.mariadb):
        answers = {
            "nobody": (free, "refused"),
            "silent": (listener(None), "timed out"),
            "other": (listener(b"HTTP/1.1 200"), "is not"),
        }
        for name, (number, text) in answers.items():
            try:
                speak(number, "u", "p", "d", "SELECT 1", 1)
                why = "an answer"
            except protocol.Silent as error:
                why = str(error)
            test.holds(f"{speak.__name__}, {name}: `{text}`", text in why, why)


def listener(greeting):
    """A port that accepts, says this or nothing, and goes away with the test."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        kept = []
        while True:
            connection, _ = server.accept()
            kept.append(connection)
            if greeting:
                connection.sendall(greeting + b" " * 64)

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def sick_images(test):
    """No image, half of one, one without a system on it."""
    test.expect(1, ["is no image of a machine", "iact vm-image"], "boot.py", test.work / "absent", test.work / "m0")
    sick = test.work / "sick"
    shutil.copytree(test.image, sick, copy_function=os.symlink)
    (sick / "initrd.img").unlink()
    (sick / "initrd.img").touch()
    test.expect(1, ["initrd.img is empty"], "boot.py", sick, test.work / "m1")
    (sick / "initrd.img").unlink()
    (sick / "initrd.img").symlink_to(test.image / "initrd.img")
    (sick / "disk.qcow2").unlink()
    machine.run(["qemu-img", "create", "-q", "-f", "qcow2", str(sick / "disk.qcow2"), "64M"])
    with Trial(sick, test.work / "m2", memory_mb=512) as trial:
        try:
            trial.wait(240)
            why = "it answered"
        except machine.Problem as problem:
            why = str(problem)
        test.holds("a sick image: told", "the machine ended before its databases answered" in why, why + trial.said()[-2000:])
    test.nothing_left("a machine that did not boot")


def killed(test):
    """However a machine, or what started it, is ended while it boots: no QEMU is left."""
    starter = f"import sys, time; sys.path.insert(0, {str(HERE)!r})\nfrom trial import Trial\n"
    starter += "with Trial(sys.argv[1], sys.argv[2]) as trial:\n    time.sleep(600)\n"
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        folder = test.work / f"killed-{number}"
        parent = subprocess.Popen([sys.executable, "-c", starter, test.image, folder], stderr=subprocess.DEVNULL)
        test.holds(f"it boots, then {number.name}", booting(folder))
        parent.send_signal(number)
        parent.wait()
        test.nothing_left(number.name)
    with Trial(test.image, folder) as trial:
        test.holds("the killed machine's folder starts again", booting(folder), trial.said())
        test.expect(1, ["a machine already runs in"], "boot.py", test.image, folder)
    test.expect(1, ["does the machine run?"], "check.py", folder)
    test.expect(1, ["no machine was started in"], "check.py", test.work)
    test.expect(1, ["no machine listens at"], "snapshot.py", folder, test.work / "no-snapshot")
    test.holds("no snapshot of a dead machine", not list(test.work.glob("no-snapshot*")))


def booting(folder):
    """Waits until QEMU runs in the folder."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            qmp.Monitor(folder / "qmp.sock", 20).__exit__()
            return True
        except qmp.Gone:
            time.sleep(0.05)
    return False


def full_disk(test, full):
    """The build runs out of disk: told, and the image that was there is whole."""
    if not full:
        print("not tried: a full disk (no namespace with a small one here)")
        return
    fake = test.work / "fake"
    fake.mkdir()
    (fake / "mmdebstrap").write_text(
        '#!/bin/sh\nfor word; do case $word in *root.tar) exec dd if=/dev/zero of="$word" bs=1M count=100;; esac; done\n'
    )
    (fake / "mmdebstrap").chmod(0o755)
    out = full / "image"
    out.mkdir()
    (out / "image.json").write_text("earlier")
    env = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    test.expect(1, ["no space left on the disk of", "df -h"], "image.sh", out, "1G", "http://127.0.0.1:9", env=env)
    test.holds("the earlier image is whole", (out / "image.json").read_text() == "earlier")
    test.holds("nothing lies beside it", [path.name for path in full.iterdir()] == ["image"])


def round_trip(test, full):
    """Boot, check, snapshot, restore, go on: with the memory, and with another password from the disk alone."""
    folder, snapshot = test.work / "machine", test.work / "snapshot"
    with Trial(test.image, folder) as trial:
        trial.wait()
        test.expect(0, ["PostgreSQL 15.", "MariaDB", "refuses a wrong password"], "check.py", folder)
        databases = Databases(folder)
        databases.ask(ANALYTICS, "CREATE TABLE calls AS SELECT generate_series(1, 500) AS id")
        databases.ask(LEGACY, "CREATE TABLE calls (id int)")
        databases.ask(LEGACY, "INSERT INTO calls VALUES (1), (2), (3)")
        if full:
            test.expect(1, ["full disk?"], "snapshot.py", folder, full / "snapshot")
            test.holds("a failed snapshot leaves nothing", not list(full.glob("snapshot*")))
            test.holds("the machine goes on after it", databases.silence() is None)
        test.expect(0, ["'iact_analytics': 500"], "snapshot.py", folder, snapshot)
        test.holds("the machine goes on after a snapshot", databases.silence() is None)
        test.expect(1, ["runs; end it first"], "restore.py", snapshot, folder, test.image)
        databases.ask(LEGACY, "DROP TABLE calls")
    kept = snapshot_of(folder)
    test.expect(1, ["no whole snapshot in", "iact vm-snapshot"], "restore.py", test.work / "absent", folder, test.image)
    damaged = test.work / "damaged"
    shutil.copytree(snapshot, damaged)
    with open(damaged / "state.zst", "r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    test.expect(1, ["is damaged", "iact artifact restore"], "restore.py", damaged, folder, test.image)
    test.holds("a refused restore changes nothing", snapshot_of(folder) == kept)
    other, image = test.work / "elsewhere", test.work / "other-image"
    shutil.copytree(test.work / "sick", image, symlinks=True)
    (image / "image.json").unlink()
    (image / "image.json").write_text('{"version": 1, "disk_sha256": "0123"}')
    test.expect(1, ["was taken over image"], "restore.py", snapshot, other, image)
    test.expect(1, ["ended before its databases answered"], "restore.py", snapshot, other, test.work / "sick")
    test.holds("a refused restore makes nothing", not list(test.work.glob("elsewhere*")))

    rows = {ANALYTICS: {"calls": 500}, LEGACY: {"calls": 3}}
    test.expect(0, ["as of"], "restore.py", snapshot, folder, test.image)
    with Trial(test.image, folder) as trial:
        begin = time.monotonic()
        trial.wait()
        print(f"a restored machine answers after {time.monotonic() - begin:.1f} s")
        test.holds("the restored machine has the snapshot's rows", Databases(folder).contents() == rows)
    test.expect(0, ["from the disk alone"], "restore.py", snapshot, other, test.image)
    test.holds("nothing lies beside the machines", not list(test.work.glob("*.new.*")))
    test.nothing_left("the round trip")


def vagrant(test):
    """A Vagrantfile with a mistake in it."""
    file = test.work / "Vagrantfile"
    good = (HERE.parent.parent / "Vagrantfile").read_text()
    file.write_text(good.replace("config.vm.box ", "config.vm.bax "))
    if shutil.which("vagrant"):
        test.expect(1, ["bax"], "vagrant.sh", file)
    file.write_text(good + "end\n")
    test.expect(1, ["syntax error"] if not shutil.which("vagrant") else [], "vagrant.sh", file)
    test.expect(2, ["no such file"], "vagrant.sh", test.work / "absent")


def inside(image):
    """Everything, where mounts are this process's own."""
    full = None
    with tempfile.TemporaryDirectory(prefix="vm-test.") as scratch:
        work = pathlib.Path(scratch)
        if os.environ.pop(FULL_DISK, ""):
            full = work / "full"
            full.mkdir()
            machine.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(full)])
        test = Test(image, work)
        usage(test)
        missing_tools(test)
        ports(test)
        full_disk(test, full)
        vagrant(test)
        killed(test)
        sick_images(test)
        round_trip(test, full)
        if full:
            machine.run(["umount", "-l", str(full)])
    print(f"{test.claims - test.failed} of {test.claims} passed")
    return 1 if test.failed else 0


def main():
    if len(sys.argv) != 2:
        print("usage: test_vm.py IMAGE", file=sys.stderr)
        return 2
    image, _ = machine.image(sys.argv[1])
    alone = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    if FULL_DISK not in os.environ and not subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        os.environ[FULL_DISK] = "1"
        os.execvp(alone[0], [*alone, sys.executable, *sys.argv])
    return inside(image)


if __name__ == "__main__":
    sys.exit(main())
