"""A release: the two images that belong together, unpacked, named by their digests; and how it is started.

What is unpacked appears whole or not at all, and is never changed afterwards.
"""

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import time
from types import SimpleNamespace

import container
import process
import unpack as images
from room import Refused

NAMES = ("backend", "frontend")
KEPT = 3
BACKUPS_KEPT = 10


def name_of(archives):
    """The release that two archives come to."""
    return hashlib.sha256("".join(archive.digest for archive in archives).encode()).hexdigest()[:12]


def unpack(room, archives):
    """Unpacks both images, unless they are there; the release's name. Every byte is compared with its digest."""
    name = name_of(archives)
    file = room.path / "releases" / f"{name}.json"
    if file.is_file():
        return name
    about = {}
    try:
        for image, archive in zip(NAMES, archives, strict=True):
            folder = images.unpack(archive, room.path / "store")
            below = archive.chain(1)
            about[image] = {"digest": archive.digest, "config": archive.config, "store": folder.name, "below": below}
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(about))
        partial.rename(file)
    except OSError as error:
        raise Refused(f"cannot unpack release {name} into {room.path}: {error.strerror}; is the disk full?") from None
    return name


def is_kept(room, name):
    """Whether a release can be started without its archives."""
    return (room.path / "releases" / f"{name}.json").is_file()


def prune(room, wanted):
    """Forgets releases beyond the last few, those that are wanted apart, and the files that none of the others has."""
    files = sorted((room.path / "releases").glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    used = set()
    for number, file in enumerate(files):
        if number < KEPT or file.stem in wanted:
            used.update(about[key] for about in json.loads(file.read_text()).values() for key in ("store", "below"))
        else:
            file.unlink()
    for folder in (room.path / "store").iterdir():
        if folder.name not in used:
            shutil.rmtree(folder)


def environment(room, name):
    """What the application is told: defaults that need no server, then the environment's own settings."""
    key = room.path / "secret-key"
    if not key.exists():
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(50))
    found = {"DJANGO_SECRET_KEY": key.read_text(), "APP_RELEASE": name}
    for prefix, database in (("ANALYTICS", "iact_analytics"), ("IVR", "ivr_legacy")):
        found[f"{prefix}_DB_ENGINE"] = "sqlite"
        found[f"{prefix}_DB_NAME"] = f"{container.STATE}/{database}.sqlite3"
    return {**found, **room.settings()}


def _image(room, name, image):
    about = json.loads((room.path / "releases" / f"{name}.json").read_text())[image]
    return SimpleNamespace(root=room.path / "store" / about["store"], config=about["config"])


def back_up(room, name):
    """Copies the databases that are files, consistently although they are in use; the copies."""
    made = []
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for file in sorted((room.path / "data").glob("*.sqlite3")):
        copy = room.path / "backups" / f"{stamp}-{name}-{file.name}"
        with sqlite3.connect(file) as source, sqlite3.connect(copy) as target:
            source.backup(target)
            (verdict,) = target.execute("PRAGMA integrity_check").fetchone()
        source.close()
        target.close()
        if verdict != "ok":
            raise Refused(f"{file} is damaged: {verdict}")
        copy.chmod(0o600)
        made.append(copy)
        for old in sorted((room.path / "backups").glob(f"*-{file.name}"))[:-BACKUPS_KEPT]:
            old.unlink()
    return made


def migrate(room, name, patience_s):
    """Brings the databases up to date with the release's own command; its last words if that failed, else None."""
    argv, env = container.command(_image(room, name, "backend"), room.path / "data", environment(room, name), ["migrate"])
    argv.insert(1, "--die-with-parent")
    try:
        said = subprocess.run(argv, env=env, capture_output=True, timeout=patience_s, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"still migrating after {patience_s} s"
    if said.returncode == 0:
        return None
    return (said.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]


def start(room, name, colour):
    """Starts both halves of a release under a colour; what identifies them."""
    ports = {image: process.free_port() for image in NAMES}
    found = {"release": name, "ports": ports, "processes": []}
    extra = {
        "backend": {**environment(room, name), "PORT": str(ports["backend"])},
        "frontend": {"PORT": str(ports["frontend"]), "BACKEND": f"127.0.0.1:{ports['backend']}"},
    }
    for image in NAMES:
        argv, env = container.command(_image(room, name, image), room.path / "data", extra[image], ["serve"])
        log = room.path / colour / f"{image}.log"
        log.unlink(missing_ok=True)
        found["processes"].append(process.spawn(argv, env, log))
    return found


def last_words(room, colour):
    """The end of what a colour's processes said."""
    lines = []
    for image in NAMES:
        file = room.path / colour / f"{image}.log"
        if file.exists():
            lines += [f"{image}: {line}" for line in file.read_text(errors="replace").splitlines()[-5:]]
    return lines
