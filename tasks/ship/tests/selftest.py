#!/usr/bin/env python3
"""What goes wrong around deploys and images: each time one message with the remedy, the right code, what was before intact, nothing left.

    selftest.py BACKEND FRONTEND            the archives of the two images

Needs bubblewrap, nginx, skopeo, docker-registry. Runs in a scratch folder.
"""

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import oci
import process
import sicken
from scene import HERE, NAME, QUICK, Scene


def usage(scene):
    for argv in (
        ["deploy.py"],
        ["deploy.py", "deploy", "", "a b"],
        ["deploy.py", "deploy", "", "staging", "x", "a", "b"],
        ["deploy.py", "fly", "", "staging"],
        ["oci.py"],
        ["scan.py"],
        ["updates.py"],
        ["advisories.py", "npm", "/"],
    ):
        scene.run([sys.executable, "-B", HERE / argv[0], *argv[1:]], 2, "" if argv[-1] == "x" else argv[0])
    for argv, says in (
        (["image.sh"], "usage"),
        (["base.sh", "x"], "usage"),
        (["push.sh"], "usage"),
        (["load.sh"], "usage"),
        (["base.sh", "x", "now", "y"], "is no time"),
    ):
        scene.run([HERE / argv[0], *argv[1:]], 2, says)
    scene.run(scene.argv("deploy", scene.port, "a", "b", "hold=forever"), 2, "`hold=forever`: expected one of")
    scene.run([HERE / "image.sh", "frontend", "x", "1", "/etc/hosts", "podman", "/etc"], 2, "`podman` is no engine")
    scene.run([HERE / "push.sh", "/etc/hosts", "nowhere", "latest"], 2, "is no repository")


def missing_tools(scene):
    folder = scene.path / "few-tools"
    folder.mkdir()
    for tool in ("bash", "env", "python3", "dirname"):
        (folder / tool).symlink_to(shutil.which(tool))
    env = {**os.environ, "PATH": str(folder)}
    scene.run([HERE / "base.sh", "x", "1", "y"], 4, "sudo apt-get install mmdebstrap", env=env)
    scene.run(
        [HERE / "image.sh", "frontend", "x", "1", "/etc/hosts", "buildah", "/etc"], 4, "sudo apt-get install buildah", env=env
    )
    scene.deploy("stop", expect=1, says=["sudo apt-get install bubblewrap"], env=env)


def archives(scene, backend, page):
    damaged = sicken.spoil(backend, scene.path / "damaged.tar")
    scene.run([HERE / "oci.py", "digest", damaged], 1, "is damaged")
    scene.deploy("deploy", scene.port, damaged, page, expect=1, says=["is damaged"])
    (scene.path / "cut.tar").write_bytes(Path(page).read_bytes()[:1000000])
    scene.deploy("deploy", scene.port, backend, scene.path / "cut.tar", expect=1, says=["cut.tar is no OCI archive"])
    scene.deploy(
        "deploy", scene.port, backend, scene.path / "absent", expect=1, says=["is no OCI archive: [Errno 2] No such file"]
    )
    scene.deploy(
        "deploy",
        scene.port,
        sicken.lead_out(scene.path / "out.tar"),
        page,
        expect=1,
        says=["entry `../escaped` leaves the image"],
    )
    scene.holds("nothing has escaped", not list(scene.path.rglob("escaped")))
    scene.run([HERE / "scan.py", page], 0, "0 findings")
    scene.run(
        [HERE / "scan.py", sicken.make(page, scene.path, "leaky")],
        1,
        "it runs as root",
        "/app/site/.env: does not belong",
        "holds a private key",
        "/app/site/open: everybody",
        "/app/start: setuid",
        "5 findings",
    )
    store = scene.room().path / "store"
    scene.holds("no half of an image is left", not list(store.glob(".partial-*")))


def canonical(scene, page):
    """Other times and another builder's remarks: the same digest."""
    once, again = scene.path / "once.tar", scene.path / "again.tar"
    scene.run([HERE / "oci.py", "normalise", page, once, "1700000000"], 0)
    archive = oci.Archive(page)
    archive.config.update(created="2026-01-01T00:00:00Z", history=[{"created_by": "somebody"}])
    config = oci.canonical(archive.config)
    blobs = {digest: archive.blob(digest) for digest in archive.layers}
    name = f"sha256:{hashlib.sha256(config).hexdigest()}"
    archive.manifest["config"] = {"digest": name, "size": len(config)}
    oci.write(scene.path / "other.tar", {**blobs, name: config}, oci.canonical(archive.manifest))
    scene.run([HERE / "oci.py", "normalise", scene.path / "other.tar", again, "1700000000"], 0)
    scene.holds("the same content is the same archive", once.read_bytes() == again.read_bytes() == Path(page).read_bytes())


def taken_port(scene, backend, page):
    with socket.create_server(("127.0.0.1", scene.port)):
        scene.deploy("deploy", scene.port, backend, page, expect=1, says=[f"port {scene.port} is taken by another program"])
    scene.holds("nothing was started", not scene.left())


def full_disk(scene, backend, page):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    said = scene.deploy("deploy", scene.port, backend, page, expect=None, preexec_fn=small)
    scene.holds(f"a full disk is told: {said}", "is the disk full?" in said or "File too large" in said)
    scene.holds("nothing was started on a full disk", not scene.left())


def wrong_settings(scene, backend, page):
    file = scene.room().path / "env"
    file.write_text("ANALYTICS_DB_ENGINE=oracle\n")
    scene.deploy(
        "deploy",
        scene.port,
        backend,
        page,
        *QUICK,
        expect=1,
        says=["its migration failed", "oracle", "served by nothing, as before"],
    )
    file.write_text("no equals sign\n")
    scene.deploy("deploy", scene.port, backend, page, *QUICK, expect=1, says=["env:1: expected NAME=VALUE"])
    file.unlink()
    scene.holds("nothing was started with wrong settings", not scene.left())


def begin_and_watch(scene, image, page, patience):
    """A deploy that is stopped in its tracks while it looks at the new release."""
    deploy = scene.begin("deploy", scene.port, image, page, "checks=10000", "every=0.1", f"patience={patience}")
    started = scene.await_("the trial is started", lambda: scene.room().state["trial"])
    if started and patience > 100:
        log = scene.room().path / "deploy.log"
        scene.await_("it is switched", lambda: "switched: port" in log.read_text().rsplit("started on", 1)[-1])
    return deploy


def is_undone(scene, first):
    scene.await_(
        "the deploy is undone",
        lambda: (
            not scene.room().state["trial"] and "as before" in (scene.room().path / "deploy.log").read_text().splitlines()[-1]
        ),
    )
    scene.serves(first)


def killed(scene, first, healthy, mute, page):
    for image, patience in ((healthy, 600), (mute, 60)):
        for number in (signal.SIGKILL, signal.SIGTERM):
            deploy = begin_and_watch(scene, image, page, patience)
            os.kill(deploy.pid, number)
            said, _ = deploy.communicate(timeout=60)
            if number == signal.SIGTERM:
                scene.holds(
                    f"exit {deploy.returncode} after SIGTERM:\n{said}",
                    deploy.returncode == 128 + number and "as before" in said,
                )
            is_undone(scene, first)


def dead_worker(scene, first, healthy, page):
    """Nobody is left to undo anything: the next command does."""
    deploy = begin_and_watch(scene, healthy, page, 600)
    worker = int((scene.room().path / "lock").read_text().split()[1])
    marks = [pid for pid in scene.left() if pid != deploy.pid and b"IACT_ACTION" in Path(f"/proc/{pid}/environ").read_bytes()]
    scene.holds(f"no process that stays carries the mark of a run: {marks}", not marks)
    os.kill(worker, signal.SIGKILL)
    said, _ = deploy.communicate(timeout=60)
    scene.holds(f"a dead worker is told: {said}", deploy.returncode == 1 and "the worker died" in said)
    scene.deploy("start", says=["an earlier deploy was killed: undoing it", f"back at {first}", "runs already"])
    scene.serves(first)


def two_at_once(scene, first, healthy, page):
    deploy = begin_and_watch(scene, healthy, page, 600)
    scene.deploy("deploy", scene.port, healthy, page, expect=1, says=[f"{NAME} is being changed by process"])
    deploy.terminate()
    deploy.communicate(timeout=60)
    is_undone(scene, first)


def dead_machine(scene, first):
    """Everything was ended, as by a restart."""
    live = scene.room()
    process.stop([*live.live["processes"], live.state["front"]], 5)
    scene.deploy("smoke", expect=1, says=["FAIL"])
    scene.deploy("status", says=["down"])
    scene.deploy("start", says=[f"{first} is live"])
    scene.serves(first)


def killed_build(scene):
    """A build that is ended half-way: the image from before stays, its scratch folder does not."""
    scratch, page, out = scene.path / "tmp", scene.path / "page", scene.path / "image.tar"
    scratch.mkdir()
    page.mkdir()
    (page / "index.html").write_text("<html>")
    (page / "large").write_bytes(os.urandom(64 << 20))
    scene.run(["tar", "-cf", scene.path / "base.tar", "-C", page, "large"], 0)
    out.write_text("from before")
    argv = [HERE / "image.sh", "frontend", out, "1", scene.path / "base.tar", "buildah", page]
    env = {**os.environ, "TMPDIR": str(scratch)}
    build = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    scene.await_("buildah works", lambda: list(scratch.glob("*/store")))
    os.killpg(build.pid, signal.SIGTERM)
    scene.holds(f"a killed build ends with {build.wait(60)}", build.returncode == 143)
    scene.holds(f"it leaves nothing: {list(scratch.iterdir())}", not list(scratch.iterdir()))
    scene.holds("the image from before is still there", out.read_text() == "from before")


@contextlib.contextmanager
def registry(scene):
    port = process.free_port()
    env = {
        **os.environ,
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(scene.path / "registry"),
    }
    with open(scene.path / "registry.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(["docker-registry", "serve", HERE / "registry.yml"], env=env, stdout=log, stderr=log)
    try:
        scene.await_("the registry listens", lambda: process.is_taken(port))
        yield f"127.0.0.1:{port}/site"
    finally:
        server.kill()
        server.wait()


def pushes(scene, page, other):
    with registry(scene) as where:
        push = HERE / "push.sh"
        scene.run([push, page, f"{where}/frontend", "v1"], 0, "/frontend:v1 is sha256:")
        scene.run([push, page, f"{where}/frontend", "v1"], 0, "already")
        scene.run([push, other, f"{where}/frontend", "v1"], 1, "a released tag is not moved")
        scene.run([push, page, f"{where}/frontend", "latest"], 0, "latest is")
    scene.run([HERE / "push.sh", page, f"{where}/frontend", "v1"], 1, "does not answer; is it up")


def without_data(scene, page):
    """A scanner that has nothing to compare with has not passed."""
    (scene.path / "apt.conf").write_text('Dir::Etc::SourceList "/nonexistent"; Dir::Etc::SourceParts "/nonexistent";\n')
    env = {**os.environ, "APT_CONFIG": str(scene.path / "apt.conf")}
    scene.run([HERE / "updates.py", page], 3, "NOT SCANNED: the security archive's lists cannot be had", env=env)
    (scene.path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:9/debian bookworm-security main\n")
    (scene.path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{scene.path}/sources.list"; Dir::Etc::SourceParts "/nonexistent"; Acquire::Retries "0";\n'
    )
    scene.run([HERE / "updates.py", page], 3, "NOT SCANNED", env=env)
    audit = scene.path / "audit"
    for answer, code, says in (
        (
            '{"dependencies": [{"name": "jinja2", "skip_reason": "not found on PyPI"}]}',
            3,
            "NOT SCANNED: nothing could be learnt about 1 of 1 packages: jinja2",
        ),
        ('{"dependencies": []}', 3, "NOT SCANNED"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            1,
            "FAIL a 1: CVE-1, mended in 2",
        ),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 packages, 0 known"),
        ("connection refused", 3, "NOT SCANNED: audit says no JSON: connection refused"),
    ):
        audit.write_text(f"#!/bin/sh\ncat <<'E'\n{answer}\nE\n")
        audit.chmod(0o755)
        scene.run([HERE / "advisories.py", "python", audit, "requirements.txt"], code, says)
    scene.run([HERE / "advisories.py", "python", scene.path / "no-audit", "r.txt"], 3, "NOT SCANNED: there is no")


def main(argv):
    if len(argv) != 2:
        print("usage: selftest.py BACKEND FRONTEND", file=sys.stderr)
        return 2
    backend, page = map(Path, argv)
    before = [oci.Archive(path).digest for path in argv]
    with Scene() as scene:
        healthy, mute = (sicken.make(backend, scene.path, kind) for kind in ("healthy", "mute"))
        usage(scene)
        missing_tools(scene)
        archives(scene, backend, page)
        canonical(scene, page)
        taken_port(scene, backend, page)
        full_disk(scene, backend, page)
        wrong_settings(scene, backend, page)
        killed_build(scene)
        pushes(scene, page, backend)
        without_data(scene, page)
        scene.deploy("deploy", scene.port, backend, page, *QUICK)
        first = scene.room().live["release"]
        scene.serves(first)
        killed(scene, first, healthy, mute, page)
        dead_worker(scene, first, healthy, page)
        two_at_once(scene, first, healthy, page)
        dead_machine(scene, first)
        scene.holds("the archives are as they were", before == [oci.Archive(path).digest for path in argv])
    return 1 if scene.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
