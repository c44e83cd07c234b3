"""The text of a dump: made the same for the same data, and known to be whole.

Headers with versions and hosts go, and so does the database's own name: a dump fits a database of any name. The rows of
each COPY block of PostgreSQL are sorted (MariaDB sorts by primary key itself). A dump that does not end with its trailer is
truncated.
"""

import hashlib
import re
import subprocess
import tempfile

from archive import Trouble

SORTED_HERE_BYTES = 64 << 20
HEADERS = (b"-- Dumped from database version", b"-- Dumped by pg_dump version", b"-- MariaDB dump ", b"-- Host: ")
HEADERS += (b"-- Server version", b"/*M!999999\\- enable the sandbox mode")
HEADER_LINES = 30
NAMING = (b"-- Dumping events for database", b"-- Dumping routines for database")
ALTERING = re.compile(rb"ALTER DATABASE `[^`]*` CHARACTER SET")
TAIL_BYTES = 200


def _sorted_rows(lines):
    """The lines up to the end of a COPY block, sorted; a large block by sort(1)."""
    rows, size, sort = [], 0, None
    for line in lines:
        if line == b"\\.":
            break
        rows.append(line)
        size += len(line) + 60
        if size > SORTED_HERE_BYTES:
            if sort is None:
                spool = tempfile.TemporaryFile()
                argv = ["sort", "-S", "64M"]
                sort = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=spool, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
                )
            sort.stdin.write(b"\n".join(rows) + b"\n")
            rows, size = [], 0
    if sort is None:
        yield from sorted(rows)
        return
    if rows:
        sort.stdin.write(b"\n".join(rows) + b"\n")
    sort.stdin.close()
    if sort.wait():
        raise Trouble("the rows of a table could not be sorted: is the disk of TMPDIR full?")
    with spool:
        spool.seek(0)
        for line in spool:
            yield line.rstrip(b"\n")


def _same(lines):
    lines = iter(lines)
    for number, line in enumerate(lines):
        if number < HEADER_LINES and line.startswith(HEADERS):
            continue
        if line.startswith(NAMING):
            continue
        if line.startswith(b"ALTER DATABASE `"):  # around routines with a collation of their own
            line = ALTERING.sub(b"ALTER DATABASE CHARACTER SET", line)
        yield line
        if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;"):
            yield from _sorted_rows(lines)
            yield b"\\."


def normal(lines):
    """The lines of a dump as pieces of its normal form."""
    piece, size = [], 0
    for line in _same(lines):
        piece.append(line)
        size += len(line)
        if size > 1 << 18:
            yield b"\n".join(piece) + b"\n"
            piece, size = [], 0
    if piece:
        yield b"\n".join(piece) + b"\n"


class Whole:
    """Passes pieces on; afterwards knows their digest, their size, and whether the trailer was there."""

    def __init__(self, pieces, trailer):
        self.pieces, self.trailer = pieces, trailer
        self.digest, self.bytes, self.tail = hashlib.sha256(), 0, b""
        self.trouble = None

    def __iter__(self):
        while piece := self._next():
            self.digest.update(piece)
            self.bytes += len(piece)
            self.tail = (self.tail + piece)[-TAIL_BYTES:]
            yield piece

    def _next(self):
        try:
            return next(self.pieces, b"")
        except Trouble as trouble:
            self.trouble = trouble
            raise

    def check(self, name):
        """Trouble if the last lines are not those of a whole dump."""
        if self.trailer not in self.tail:
            raise Trouble(f"{name} is truncated: its last lines are not `{self.trailer.decode()}`")
