"""The virtual machine as its folder says: what lies in it, on which ports it is, how QEMU is called for it.

A machine's folder (one that runs, ran, or will run):

    base           the image: a copy, or a link to it
    disk.qcow2     what it has written, over the image's disk
    state.zst      only after a restore: memory and devices at the snapshot. Taken away by the start that uses it, since it
                   fits only the disk of that very moment
    password       of every database user, made with the folder (0600)
    machine.json   {"version": 1, "postgres_port", "mariadb_port", "accel", "qemu", "memory_mb", "image"}, of the last start
    qmp.sock       QEMU's monitor, while it runs

The same QEMU, processor, board and memory have to be there to go on from a saved state; `shape` says them, and is kept with a
snapshot. The board is one with a version, the processor one of QEMU's own: neither follows the host.
"""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import tempfile

QEMU = "qemu-system-x86_64"
BOARD = "pc-q35-6.2"
IMAGE = ("disk.qcow2", "vmlinuz", "initrd.img", "image.json")
KERNEL = "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=-1 quiet loglevel=3 mitigations=off"
INSTALL = "`iact setup` or `apt-get install qemu-system-x86 qemu-utils` helps"

# A boot sector that leaves through QEMU's exit device: mov dx,0xf4; mov al,0x10; out dx,al; hlt.
BOOT_SECTOR = bytes.fromhex("baf400b010eef4").ljust(510, b"\0") + b"\x55\xaa"
PROBE_EXIT = 0x10 << 1 | 1
PROBE_S = 3


class Problem(Exception):
    """What a person has to know, with the remedy, and the exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def tool(name):
    """The program's path."""
    found = shutil.which(name)
    if not found:
        raise Problem(f"no {name} on PATH; {INSTALL}", 4)
    return found


def qemu_version():
    """As in `7.2.22`."""
    said = subprocess.run([tool(QEMU), "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"version (\d+(?:\.\d+)+)", said)[1]


def accelerator(wanted="auto"):
    """`kvm` if a machine really runs with it, and quickly, else `tcg`, and why.

    That /dev/kvm opens says little: there are kernels that let a machine be made and then emulate it more slowly than
    QEMU does. So one is started that leaves at its first instruction after the firmware.
    """
    if wanted != "auto":
        return wanted, "asked for"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "no access to /dev/kvm"
    with tempfile.NamedTemporaryFile(suffix=".img") as disk:
        disk.write(BOOT_SECTOR)
        disk.flush()
        command = [tool(QEMU), "-accel", "kvm", "-cpu", "host", "-M", BOARD, "-m", "64", "-nodefaults", "-display", "none"]
        command += ["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        command += ["-drive", f"file={disk.name},format=raw,if=ide,readonly=on,snapshot=on"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S, check=False)
        except subprocess.TimeoutExpired:
            return "tcg", f"a machine under KVM has not passed its firmware after {PROBE_S} s"
    if done.returncode == PROBE_EXIT:
        return "kvm", "it works"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return "tcg", f"KVM does not run a machine ({said[-1] if said else f'exit {done.returncode}'})"


def free_port():
    """A port of the loopback interface that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def claim(port, what, variable):
    """The port, or a free one for 0; a port that somebody has is a problem."""
    if port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Problem(
                f"port {port} for {what} is taken ({error.strerror}): end what listens there (`ss -ltnp 'sport = :{port}'`), "
                f"or choose another with {variable}=PORT"
            ) from None
    return port


def image(folder):
    """The image's folder, whole, and its disk's digest."""
    folder = pathlib.Path(folder).absolute()
    try:
        digest = json.loads((folder / "image.json").read_text())["disk_sha256"]
        for name in IMAGE[:3]:
            if not (folder / name).stat().st_size:
                raise ValueError(f"{name} is empty")
    except (OSError, ValueError, KeyError) as error:
        raise Problem(f"{folder} is no image of a machine ({error}); `iact vm-image` makes it") from None
    return folder, digest


def copy_image(source, base):
    """The image, whole or not at all; where the file system can, without copying a byte."""
    partial = base.with_name(f"base.new.{os.getpid()}")
    partial.mkdir()
    try:
        for name in IMAGE:
            run(["cp", "--reflink=auto", str(source / name), str(partial / name)])
        if base.is_symlink():
            base.unlink()
        partial.rename(base)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def shape(accel, memory_mb):
    """What has to be the same to go on from a saved state."""
    return {"qemu": qemu_version(), "board": BOARD, "accel": accel, "memory_mb": memory_mb}


def overlay(disk, base):
    """A new disk over another that stays as it is."""
    run([tool("qemu-img"), "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(disk)])


def run(command):
    """A command that has to succeed; its own words if it does not."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Problem(f"{pathlib.Path(command[0]).name} failed: {said[-1] if said else done.returncode}")
    return done.stdout


def replace(place, new, old):
    """Puts a folder in place; what was there is in `old` then, or back where it was if that fails."""
    there = place.exists()
    if there:
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if there:
            old.rename(place)
        raise


def password(folder):
    """The machine's password, made if there is none. The file appears whole, and was never readable by others."""
    folder = pathlib.Path(folder)
    path = folder / "password"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    made, partial = secrets.token_urlsafe(24), folder / f"password.{os.getpid()}"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(handle, made.encode())
    os.close(handle)
    partial.rename(path)
    return made


def facts(folder):
    """What `machine.json` says of the machine's last start."""
    try:
        return json.loads((pathlib.Path(folder) / "machine.json").read_text())
    except (OSError, ValueError):
        raise Problem(f"no machine was started in {folder}; `iact up vm` or `iact up devbox` starts one") from None


def command(base, told):
    """QEMU, to be called in the machine's folder. It stays in the foreground; the guest's console is its output."""
    accel = "kvm" if told["accel"] == "kvm" else "tcg,thread=multi,tb-size=512"
    cpu = "host,-arch-capabilities" if told["accel"] == "kvm" else "Nehalem"
    forward = ",".join(
        f"hostfwd=tcp:127.0.0.1:{told[name]}-10.0.2.15:{guest}"
        for name, guest in (("postgres_port", 5432), ("mariadb_port", 3306))
    )
    options = [tool(QEMU), "-name", "iact-devbox", "-M", BOARD, "-accel", accel, "-cpu", cpu, "-m", str(told["memory_mb"])]
    options += ["-smp", "2", "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config"]
    options += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    options += ["-kernel", str(base / "vmlinuz"), "-initrd", str(base / "initrd.img")]
    # On a loaded machine an emulated timer comes too late for the kernel's test of it, and the kernel would give up.
    options += ["-append", f"{KERNEL} no_timer_check"]
    options += ["-drive", "file=disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap"]
    options += ["-netdev", f"user,id=net,restrict=on,{forward}", "-device", "virtio-net-pci,netdev=net,romfile="]
    options += ["-device", "virtio-rng-pci", "-fw_cfg", "name=opt/iact/password,file=password"]
    options += ["-qmp", "unix:qmp.sock,server=on,wait=off"]
    return options
