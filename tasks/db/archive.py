"""Compressed, optionally encrypted files: written whole or not at all, read to the end or refused.

A file is what `gzip -n` makes of its content, and what `age` makes of that if a recipient is given. It is written
beside its place, as its owner's alone, and renamed when every process of the chain has succeeded. Needs gzip; age
(Debian package `age`) for recipients and identities.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile

CHUNK_BYTES = 1 << 20


class Trouble(Exception):
    """Something a person has to put right; the text says what and how."""


def need(tool, package):
    """The tool is on PATH, or Trouble with the remedy."""
    if shutil.which(tool) is None:
        raise Trouble(f"no `{tool}` here: apt-get install {package}")


class _Chain:
    """Processes, each reading from the one before it. What they say on standard error is kept in a file."""

    def __init__(self):
        self.processes = []
        self.said = tempfile.TemporaryFile()

    def add(self, argv, stdin, stdout):
        process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=self.said)
        self.processes.append(process)
        return process

    def failure(self):
        """Waits; what the first that failed said, or None."""
        codes = [process.wait() for process in self.processes]
        if not any(codes):
            return None
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[0] if lines else f"exit {next(code for code in codes if code)}"

    def end(self):
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            process.kill()
            process.wait()
        self.said.close()


@contextlib.contextmanager
def writer(path, recipient=""):
    """Yields `write(bytes)`; the file is there when the block has ended well, and as it was before if not."""
    if recipient:
        need("age", "age")
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    number, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    chain = _Chain()

    def write(data):
        try:
            first.stdin.write(data)
        except OSError:
            raise Trouble(f"cannot write `{path}`: {chain.failure()}") from None

    try:
        first = chain.add(["gzip", "-n", "-6"], subprocess.PIPE, subprocess.PIPE if recipient else number)
        if recipient:
            chain.add(["age", "--encrypt", "--recipient", recipient], first.stdout, number)
            first.stdout.close()
        yield write
        with contextlib.suppress(OSError):  # the exit code tells
            first.stdin.close()
        failure = chain.failure()
        if failure:
            raise Trouble(f"cannot write `{path}`: {failure}")
        os.fsync(number)
        os.rename(temporary, path)
    except BaseException:
        chain.end()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        os.close(number)


def chunks(path, identity=""):
    """The content of a file; Trouble if it is not whole, or cannot be decrypted."""
    sealed = path.endswith(".age")
    if sealed:
        need("age", "age")
        if not identity:
            raise Trouble(f"`{path}` is encrypted: age_identity=FILE names the file with the key")
        if not os.path.isfile(identity):
            raise Trouble(f"the key `{identity}` is not there; without it `{path}` cannot be read")
    chain = _Chain()
    try:
        file = open(path, "rb")
    except OSError as error:
        raise Trouble(f"cannot read `{path}`: {error.strerror}") from None
    try:
        with file:
            source = file
            if sealed:
                argv = ["age", "--decrypt", "--identity", identity]
                source = chain.add(argv, file, subprocess.PIPE).stdout
            last = chain.add(["gzip", "-dc"], source, subprocess.PIPE)
            if sealed:
                source.close()
        while data := last.stdout.read(CHUNK_BYTES):
            yield data
        failure = chain.failure()
        if failure:
            raise Trouble(f"`{path}` is damaged or cannot be decrypted: {failure}")
    finally:
        chain.end()
