#!/usr/bin/env python3
"""An OCI archive: reading it with proof, writing it in one canonical form.

    oci.py normalise IN OUT EPOCH     the same image, with times no later than EPOCH and nothing of who built it; prints its digest
    oci.py digest ARCHIVE             prints the manifest's digest, after every blob was compared with its own
    oci.py id ARCHIVE                 prints the digest of its configuration, docker's name for the image

Container engines put the time of the build, their version and the order of a map into what they write: two builds of one content
differ. Here an image is only its layers' files and how to start it. Needs nothing besides Python.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
KEPT = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "User", "WorkingDir")
CHUNK = 1 << 20


class Broken(Exception):
    """The archive is not what it says."""


def canonical(value):
    """The one spelling of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Digesting:
    """A stream that digests what goes through it, to or from another."""

    def __init__(self, inner):
        self.inner, self.sha, self.size = inner, hashlib.sha256(), 0

    def read(self, size=-1):
        data = self.inner.read(size)
        self.sha.update(data)
        self.size += len(data)
        return data

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return self.inner.write(data)

    def flush(self):
        self.inner.flush()

    def digest(self):
        return f"sha256:{self.sha.hexdigest()}"


class Archive:
    """An archive, opened: `digest`, `manifest` and `config` are proven by their digests, layers when they are read."""

    def __init__(self, path):
        self.path = path
        try:
            self.tar = tarfile.open(path)
            self.members = {member.name.removeprefix("./"): member for member in self.tar}
            manifests = json.loads(self._file("index.json").read())["manifests"]
            if len(manifests) != 1:
                raise Broken(f"{path} holds {len(manifests)} images instead of one")
            self.digest = manifests[0]["digest"]
            self.manifest = json.loads(self.blob(self.digest))
            self.config = json.loads(self.blob(self.manifest["config"]["digest"]))
            self.layers = [layer["digest"] for layer in self.manifest["layers"]]
            self.contents = self.config["rootfs"]["diff_ids"]
            if len(self.layers) != len(self.contents):
                raise Broken(f"{path} has {len(self.layers)} layers and names {len(self.contents)}")
        except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise Broken(f"{path} is no OCI archive: {error}") from None

    def _file(self, name):
        member = self.members.get(name)
        file = member and self.tar.extractfile(member)
        if not file:
            raise Broken(f"{self.path} lacks {name}")
        return file

    def _open(self, digest):
        return self._file(f"blobs/{digest.replace(':', '/', 1)}")

    def blob(self, digest):
        """A small blob, proven."""
        data = self._open(digest).read()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise Broken(f"{self.path} is damaged: {digest} is something else")
        return data

    @contextlib.contextmanager
    def layer(self, number):
        """A layer as a stream of its tar; at the end its bytes and its content are proven."""
        file = self._open(self.layers[number])
        is_zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        packed = Digesting(file)
        plain = Digesting(gzip.GzipFile(fileobj=packed) if is_zipped else packed)
        try:
            yield plain
            for stream in (plain, packed):
                while stream.read(CHUNK):
                    pass
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise Broken(f"{self.path} is damaged: {self.layers[number]}: {error}") from None
        for found, named in ((packed.digest(), self.layers[number]), (plain.digest(), self.contents[number])):
            if found != named:
                raise Broken(f"{self.path} is damaged: {named} is something else")

    def prove(self):
        """Reads every byte."""
        for number in range(len(self.layers)):
            with self.layer(number):
                pass

    def chain(self, count):
        """The name of what the first layers come to together."""
        return hashlib.sha256("".join(self.contents[:count]).encode()).hexdigest()


def pack_layer(archive, number, out, epoch):
    """Writes one layer in canonical form; its digest packed and plain, and its packed size."""
    packed = Digesting(out)
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as zipped:
        plain = Digesting(zipped)
        with archive.layer(number) as stream, tarfile.open(fileobj=stream, mode="r|") as source:
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as target:
                for member in source:
                    member.name = member.name.removeprefix("./").rstrip("/")
                    if member.name in ("", "."):
                        continue
                    member.mtime = min(int(member.mtime), epoch)
                    member.uname = member.gname = ""
                    member.pax_headers = {}
                    target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return packed.digest(), plain.digest(), packed.size


def write(path, blobs, manifest):
    """Writes an archive: `blobs` are bytes or files by digest."""
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    top = {"mediaType": MANIFEST, "digest": digest, "size": len(manifest)}
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    files = {f"blobs/{name.replace(':', '/', 1)}": data for name, data in {**blobs, digest: manifest}.items()}
    files["index.json"] = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]})
    files["oci-layout"] = canonical({"imageLayoutVersion": "1.0.0"})
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            data = files[name]
            member.size = len(data) if isinstance(data, bytes) else os.stat(data).st_size
            with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as source:
                tar.addfile(member, source)
    return digest


def normalise(source, path, epoch, scratch):
    """Writes the image of `source` to `path` in canonical form; its digest."""
    blobs, layers, contents = {}, [], []
    for number in range(len(source.layers)):
        file = scratch / str(number)
        with open(file, "wb") as out:
            packed, plain, size = pack_layer(source, number, out, epoch)
        blobs[packed] = file
        layers.append({"mediaType": LAYER, "digest": packed, "size": size})
        contents.append(plain)
    start = {key: value for key, value in source.config.get("config", {}).items() if key in KEPT and value}
    if "Env" in start:
        start["Env"] = sorted(start["Env"])
    config = canonical(
        {
            "architecture": source.config["architecture"],
            "os": source.config["os"],
            "config": start,
            "rootfs": {"type": "layers", "diff_ids": contents},
        }
    )
    name = f"sha256:{hashlib.sha256(config).hexdigest()}"
    blobs[name] = config
    head = {"mediaType": CONFIG, "digest": name, "size": len(config)}
    return write(path, blobs, canonical({"schemaVersion": 2, "mediaType": MANIFEST, "config": head, "layers": layers}))


def main(argv):
    match argv:
        case ["normalise", source, path, epoch]:
            with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path)), prefix=".oci-") as scratch:
                print(normalise(Archive(source), path, int(epoch), Path(scratch)))
        case ["digest", path]:
            archive = Archive(path)
            archive.prove()
            print(archive.digest)
        case ["id", path]:
            print(Archive(path).manifest["config"]["digest"])
        case _:
            print("usage: oci.py normalise IN OUT EPOCH | digest ARCHIVE | id ARCHIVE", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Broken as error:
        print(f"oci.py: {error}", file=sys.stderr)
        sys.exit(1)
