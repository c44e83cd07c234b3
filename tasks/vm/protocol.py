"""PostgreSQL's and MariaDB's own protocols, as much as it takes to log in with a password and ask a question.

An open port proves nothing: QEMU's forward accepts whatever the guest does. Only a database that lets its user
in and answers is there. Python's standard library has no client, and a machine that builds the image need not have one.
Not in it: TLS (the way is the loopback interface), prepared statements, anything that streams.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct


class Refused(Exception):
    """The database answered, and said no; the text is its own."""


class Silent(Exception):
    """Nobody answered, or not in time, or something that is no database did."""


class Stream:
    """A connection that is read in exact pieces."""

    def __init__(self, port, timeout_s, host="127.0.0.1"):
        try:
            self.socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise Silent(f"{host}:{port}: {error.strerror or error}") from None
        self.socket.settimeout(timeout_s)
        self.port = port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Silent(f"port {self.port}: {error}") from None

    def take(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(min(count - len(data), 1 << 16))
            except OSError as error:
                raise Silent(f"port {self.port}: {error}") from None
            if not piece:
                raise Silent(f"port {self.port}: the connection was closed without an answer")
            data += piece
        return data


def postgres(port, user, password, database, sql, timeout_s=20):
    """Rows of the answer, as lists of texts."""
    with Stream(port, timeout_s) as stream:
        words = f"user\0{user}\0database\0{database}\0\0".encode()
        stream.send(struct.pack("!ii", 8 + len(words), 196608) + words)
        _postgres_login(stream, password)
        query = sql.encode() + b"\0"
        stream.send(b"Q" + struct.pack("!i", 4 + len(query)) + query)
        rows = []
        while True:
            kind, body = _postgres_message(stream)
            if kind == b"D":
                rows.append(_postgres_row(body))
            elif kind == b"Z":
                stream.send(b"X\0\0\0\4")
                return rows


def _postgres_message(stream):
    kind, length = struct.unpack("!ci", stream.take(5))
    if not kind.isalpha() or not 4 <= length < 1 << 26:
        raise Silent(f"port {stream.port}: this is not PostgreSQL")
    body = stream.take(length - 4)
    if kind == b"E":
        fields = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}
        raise Refused(fields.get(b"M", "an error without a text"))
    return kind, body


def _postgres_row(body):
    row, at = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        row.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return row


def _postgres_login(stream, password):
    """SCRAM-SHA-256 (RFC 5802), which also proves that the server knows the password."""
    nonce = base64.b64encode(os.urandom(18)).decode()
    bare, proof_of_server = f"n=,r={nonce}", None
    while True:
        kind, body = _postgres_message(stream)
        if kind == b"Z":
            return
        if kind != b"R":
            continue
        (step,) = struct.unpack("!i", body[:4])
        if step == 0:
            continue
        if step == 10:
            first = b"n,," + bare.encode()
            answer = b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first
        elif step == 11:
            answer, proof_of_server = _scram_proof(body[4:].decode(), bare, nonce, password)
        elif step == 12:
            if body[4:].decode() != proof_of_server:
                raise Refused("the server does not know the password itself")
            continue
        else:
            raise Refused(f"it wants a way of logging in (number {step}) that is not SCRAM-SHA-256")
        stream.send(b"p" + struct.pack("!i", 4 + len(answer)) + answer)


def _scram_proof(challenge, bare, nonce, password):
    parts = dict(part.split("=", 1) for part in challenge.split(","))
    if not parts["r"].startswith(nonce):
        raise Refused("the server's challenge is not an answer to ours")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    last = f"c=biws,r={parts['r']}"
    spoken = f"{bare},{challenge},{last}".encode()

    def sign(name):
        return hmac.digest(salted, name, "sha256")

    key = sign(b"Client Key")
    signature = hmac.digest(hashlib.sha256(key).digest(), spoken, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    server = base64.b64encode(hmac.digest(sign(b"Server Key"), spoken, "sha256")).decode()
    return f"{last},p={proof}".encode(), f"v={server}"


def mariadb(port, user, password, database, sql, timeout_s=20):
    """Rows of the answer, as lists of texts."""
    with Stream(port, timeout_s) as stream:
        _mariadb_login(stream, user, password, database)
        _mariadb_send(stream, 0, b"\x03" + sql.encode())
        head = _mariadb_packet(stream)
        if head[0] == 0:
            return []
        for _ in range(head[0]):
            _mariadb_packet(stream)
        _mariadb_packet(stream)
        rows = []
        while True:
            body = _mariadb_packet(stream)
            if body[0] == 0xFE and len(body) < 9:
                return rows
            rows.append(_mariadb_row(body))


def _mariadb_packet(stream, limit=1 << 24):
    length = int.from_bytes(stream.take(4)[:3], "little")
    if not 0 < length < limit:
        raise Silent(f"port {stream.port}: this is not MariaDB")
    body = stream.take(length)
    if body[0] == 0xFF:
        text = body[3:].decode("utf-8", "replace")
        raise Refused(text[6:] if text.startswith("#") else text)
    return body


def _mariadb_send(stream, number, body):
    stream.send(len(body).to_bytes(3, "little") + bytes([number]) + body)


def _mariadb_login(stream, user, password, database):
    greeting = _mariadb_packet(stream, 4096)
    if greeting[0] != 10:
        raise Silent(f"port {stream.port}: this is not MariaDB")
    at = greeting.index(b"\0") + 5
    salt = greeting[at : at + 8] + greeting[at + 27 : at + 39]
    # Protocol 4.1, secure connection, a database by name, authentication by a named plug-in.
    flags = 0x1 | 0x8 | 0x200 | 0x8000 | 0x80000
    proof = _native_password(salt, password)
    body = struct.pack("<IIB23x", flags, 1 << 24, 45) + user.encode() + b"\0" + bytes([len(proof)]) + proof
    _mariadb_send(stream, 1, body + database.encode() + b"\0mysql_native_password\0")
    answer = _mariadb_packet(stream)
    if answer[0] == 0xFE:
        salt = answer[1:].split(b"\0", 1)[1][:20]
        _mariadb_send(stream, 3, _native_password(salt, password))
        _mariadb_packet(stream)


def _native_password(salt, password):
    once = hashlib.sha1(password.encode()).digest()
    twice = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, twice, strict=True))


def _mariadb_row(body):
    row, at = [], 0
    while at < len(body):
        length, at = body[at], at + 1
        if length == 0xFB:
            row.append(None)
            continue
        if length in (0xFC, 0xFD):
            width = length - 0xFA
            length, at = int.from_bytes(body[at : at + width], "little"), at + width
        row.append(body[at : at + length].decode())
        at += length
    return row
