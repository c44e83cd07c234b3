"""Versions of an image with one more layer: healthy ones, and ones that are sick in a certain way.

Every kind is a real release: built of the same layers, with a digest of its own.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import oci

SERVE = "#!/bin/sh\nset -eu\ncd /app/site\nif [ $1 = migrate ]; then exec python3 manage.py migrate --no-input; fi\n"
WSGI = '''"""The site, with a fault."""

import os
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "callcentersite.settings")
from django.core.wsgi import get_wsgi_application

site = get_wsgi_application()


def application(environ, start_response):
    if IS_SICK:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"sick"]
    if environ["PATH_INFO"] == "/api/slow":
        time.sleep(2)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"slow"]
    return site(environ, start_response)
'''
LATE = "/var/lib/callcentersite/sick"
PLACE = "app/site/callcentersite"


def wsgi(condition):
    """Replaces the module; its bytecode, which is not compared with it, has to go."""
    return {
        f"{PLACE}/wsgi.py": (0o644, WSGI.replace("IS_SICK", condition)),
        f"{PLACE}/__pycache__/.wh.wsgi.cpython-313.pyc": (0o644, ""),
    }


KINDS = {
    "healthy": {"app/site/VERSION": (0o644, "2\n")},
    "ends": {"app/start": (0o755, SERVE + "echo the new version ends here >&2\nexit 1\n")},
    "mute": {"app/start": (0o755, SERVE + "exec sleep 600\n")},
    "broken": wsgi("True"),
    "late": wsgi(f'environ["PATH_INFO"] == "/api/health" and os.path.exists("{LATE}")'),
    "unmigratable": {"app/start": (0o755, "#!/bin/sh\n[ $1 != migrate ] || { echo no such column >&2; exit 1; }\n")},
    "leaky": {
        "app/site/.env": (0o600, "DB_PASSWORD=x\n"),
        "app/site/key.txt": (0o644, "-----BEGIN " + "PRIVATE KEY-----\nMII\n"),
        "app/site/open": (0o666, "anybody\n"),
        "app/start": (0o4755, "#!/bin/sh\n"),
    },
}


def layer_of(files):
    """A layer's tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (mode, text) in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.mode, member.size = mode, len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def add(source, target, files, start=None):
    """Writes the image of `source` with one more layer to `target`; `start` changes how it is started."""
    archive = oci.Archive(source)
    plain = layer_of(files)
    packed = gzip.compress(plain, mtime=0)
    blobs = {digest: archive.blob(digest) for digest in archive.layers}
    name = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    blobs[name] = packed
    archive.config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
    archive.config["config"].update(start or {})
    config = oci.canonical(archive.config)
    about = f"sha256:{hashlib.sha256(config).hexdigest()}"
    blobs[about] = config
    archive.manifest["layers"].append({"mediaType": oci.LAYER, "digest": name, "size": len(packed)})
    archive.manifest["config"].update(digest=about, size=len(config))
    oci.write(target, blobs, oci.canonical(archive.manifest))
    return target


def make(source, folder, kind):
    """That kind of version, in the folder."""
    return add(source, Path(folder) / f"{kind}.oci.tar", KINDS[kind], {"User": "root"} if kind == "leaky" else None)


def spoil(source, target):
    """A copy with one byte changed, in the middle of its largest layer."""
    archive = oci.Archive(source)
    largest = max(archive.manifest["layers"], key=lambda layer: layer["size"])
    member = archive.members[f"blobs/{largest['digest'].replace(':', '/', 1)}"]
    data = bytearray(Path(source).read_bytes())
    data[member.offset_data + member.size // 2] ^= 0xFF
    Path(target).write_bytes(data)
    return target


def lead_out(target):
    """An archive with an entry that wants to leave the image."""
    plain = layer_of({"../escaped": (0o644, "out\n")})
    config = oci.canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
        }
    )
    digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (plain, config)]
    manifest = {"schemaVersion": 2, "config": {"digest": digests[1]}, "layers": [{"digest": digests[0], "size": len(plain)}]}
    oci.write(target, dict(zip(digests, (plain, config), strict=True)), json.dumps(manifest).encode())
    return target
