#!/usr/bin/env python3
"""Starts a virtual machine in the foreground: this process becomes QEMU, the guest's console its output.

    boot.py IMAGE FOLDER [--postgres-port N] [--mariadb-port N] [--memory-mb N] [--accel auto|kvm|tcg] [--keep-image]

IMAGE   what image.sh made; it is only read
FOLDER  the machine's (see machine.py). A machine that was there goes on with its disk

With --keep-image the machine gets a copy of the image and outlives it.

Port 0 takes a free one; machine.json says which. Needs qemu-system-x86_64 and qemu-img, no root. Ended by SIGTERM; whatever
ends it, nothing is left behind but the folder.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import machine
import qmp


def arguments():
    parser = argparse.ArgumentParser(prog="boot.py", description="Start a virtual machine in the foreground.")
    parser.add_argument("image", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--postgres-port", type=int, default=0)
    parser.add_argument("--mariadb-port", type=int, default=0)
    parser.add_argument("--memory-mb", type=int, default=768)
    parser.add_argument("--keep-image", action="store_true")
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    return parser.parse_args()


def refuse_running(folder):
    """Two machines on one disk would destroy it."""
    try:
        qmp.Monitor(folder / "qmp.sock", 5).__exit__()
    except qmp.Gone:
        (folder / "qmp.sock").unlink(missing_ok=True)
    else:
        raise machine.Problem(f"a machine already runs in {folder}; `iact down` ends it")


def base_of(image, folder, keep):
    """The image under the machine's disk: a copy that stays when `vm-image` makes another one, or the image itself."""
    base = folder / "base"
    if not (base / "image.json").exists():
        source, _ = machine.image(image)
        if keep:
            machine.copy_image(source, base)
        else:
            base.unlink(missing_ok=True)
            base.symlink_to(source)
    base, digest = machine.image(base)
    if (folder / "disk.qcow2").exists() and machine.facts(folder)["image"] != digest:
        raise machine.Problem(f"the disk in {folder} was written over another image; remove that folder to begin anew")
    return base, digest


def saved_state(folder, shape):
    """A descriptor from which QEMU reads memory and devices, if the last restore left them and they fit."""
    state, fits = folder / "state.zst", folder / "state.json"
    if not state.exists():
        return None
    handle = os.open(state, os.O_RDONLY)
    usable = fits.exists() and json.loads(fits.read_text()) == shape
    state.unlink()
    fits.unlink(missing_ok=True)
    if not usable:
        print("boot.py: the saved state is another QEMU's or machine's; starting from its disk alone", flush=True)
        return None
    reader, writer = os.pipe()
    subprocess.Popen([machine.tool("zstd"), "-qdc"], stdin=handle, stdout=writer)
    os.close(writer)
    os.close(handle)
    os.set_inheritable(reader, True)
    return reader


def main():
    options = arguments()
    machine.tool("qemu-img")
    folder = options.folder.absolute()
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_running(folder)
    base, digest = base_of(options.image, folder, options.keep_image)
    told = {
        "version": 1,
        "postgres_port": machine.claim(options.postgres_port, "PostgreSQL", "vm_postgres_port"),
        "mariadb_port": machine.claim(options.mariadb_port, "MariaDB", "vm_mariadb_port"),
        "image": digest,
    }
    accel, why = machine.accelerator(options.accel)
    shape = machine.shape(accel, options.memory_mb)
    told.update(shape)
    machine.password(folder)
    partial = folder / "machine.json.new"
    partial.write_text(json.dumps(told) + "\n")
    partial.rename(folder / "machine.json")
    if not (folder / "disk.qcow2").exists():
        # A relative base: the folder may be moved as a whole.
        os.chdir(folder)
        machine.overlay("disk.qcow2", "base/disk.qcow2")
    print(
        f"PostgreSQL 127.0.0.1:{told['postgres_port']}, MariaDB 127.0.0.1:{told['mariadb_port']}, user django_user,",
        flush=True,
    )
    print(f"password in {folder}/password; accelerator {accel}: {why}", flush=True)
    command = machine.command(base, told)
    state = saved_state(folder, shape)
    if state is not None:
        command += ["-incoming", f"fd:{state}"]
    os.chdir(folder)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main()
    except machine.Problem as problem:
        print(f"boot.py: {problem}", file=sys.stderr)
        sys.exit(problem.code)
    except OSError as error:
        print(f"boot.py: {error} (a full disk? `df -h`)", file=sys.stderr)
        sys.exit(1)
