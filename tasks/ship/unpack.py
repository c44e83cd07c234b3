"""Unpacks images without trusting them: nothing an entry says can touch a file outside the image's folder, or one that is shared.

What images have in common is on the disk once: an image starts from the longest beginning that was unpacked before, by second names of
its files. Overlays would do without, but cannot be mounted by everybody everywhere.
"""

import os
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path

from oci import CHUNK, Broken


def parts(name):
    """The parts of an entry's name, which has to stay inside."""
    found = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in found or name.startswith("/"):
        raise Broken(f"entry `{name}` leaves the image")
    return found


def place(root, name):
    """Where an entry belongs. No part of the way may be a link, which could lead out."""
    *folders, last = parts(name)
    here = root
    for folder in folders:
        here = here / folder
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            here.mkdir(0o755)
            continue
        if not stat.S_ISDIR(mode):
            raise Broken(f"entry `{name}` goes through `{folder}`, which is no folder")
    return here / last


def clear(path):
    """Removes what stands in the way."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def apply(stream, root):
    """Puts one layer over the files in `root`, whose files may be shared: they are replaced, never written to."""
    with tarfile.open(fileobj=stream, mode="r|") as source:
        for member in source:
            if not parts(member.name):
                continue
            path = place(root, member.name)
            if path.name == ".wh..wh..opq":
                for other in path.parent.iterdir():
                    clear(other)
            elif path.name.startswith(".wh."):
                clear(path.with_name(path.name.removeprefix(".wh.")))
            elif member.isdir():
                if not path.is_dir() or path.is_symlink():
                    clear(path)
                    path.mkdir()
                path.chmod(0o755)
            elif member.isreg():
                clear(path)
                with open(path, "xb") as out:
                    shutil.copyfileobj(source.extractfile(member), out, CHUNK)
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
            elif member.issym():
                clear(path)
                path.symlink_to(member.linkname)
            elif member.islnk():
                other = place(root, member.linkname)
                clear(path)
                os.link(other, path, follow_symlinks=False)


def link(source, target):
    """A second name for a file."""
    os.link(source, target, follow_symlinks=False)


def unpack(archive, store):
    """The folder of `store` with the image's files, made now unless it is there.

    A folder appears whole or not at all. Everything belongs to the caller and nothing is setuid: it is for running, not for giving away."""
    count = len(archive.layers)
    known = next((n for n in range(count, 0, -1) if (store / archive.chain(n)).is_dir()), 0)
    for number in range(known, count):
        if 0 < number < count - 1:
            continue
        partial = Path(tempfile.mkdtemp(dir=store, prefix=".partial-"))
        try:
            below = max(known, number and 1)
            if below:
                partial.rmdir()
                shutil.copytree(store / archive.chain(below), partial, symlinks=True, copy_function=link)
            for layer in range(below, number + 1):
                with archive.layer(layer) as stream:
                    apply(stream, partial)
            partial.chmod(0o755)
            partial.rename(store / archive.chain(number + 1))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return store / archive.chain(count)
