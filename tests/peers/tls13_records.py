"""One end's TLS 1.3 records, written by hand (RFC 8446 sections 5.2 and 7).

Owns: what no TLS library lets its user send: KeyUpdates at will. It takes over a connection after
its handshake, from the traffic secrets in a key log. The cipher suite is TLS_AES_256_GCM_SHA384.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
_KEY_UPDATE: Final = 24  # RFC 8446 section 4.6.3
_HASH_SIZE: Final = 48


class _Direction:
    """The keys of one direction."""

    def __init__(self, secret: bytes) -> None:
        self._start(secret)

    def nonce(self) -> bytes:
        number = self.sequence.to_bytes(12, "big")
        return bytes(a ^ b for a, b in zip(self._iv, number, strict=True))

    def go_on(self) -> None:
        """Go on with the next keys."""
        self._start(_expand(self._secret, b"traffic upd", _HASH_SIZE))

    def _start(self, secret: bytes) -> None:
        self._secret = secret
        self.key = AESGCM(_expand(secret, b"key", 32))
        self._iv = _expand(secret, b"iv", 12)
        self.sequence = 0


class RecordWriter:
    """Write records as the end whose traffic secret is given; nothing has been sent with it yet."""

    def __init__(self, secret: bytes) -> None:
        self._direction = _Direction(secret)

    def write(self, kind: int, data: bytes) -> bytes:
        """Return one record of ``kind``."""
        inner = data + bytes((kind,))
        head = bytes((APPLICATION_DATA, 3, 3)) + (len(inner) + 16).to_bytes(2, "big")
        record = head + self._direction.key.encrypt(self._direction.nonce(), inner, head)
        self._direction.sequence += 1
        return record

    def key_update(self, *, demands_one: bool = True) -> bytes:
        """Return a KeyUpdate, and go on with the next keys."""
        record = self.write(HANDSHAKE, bytes((_KEY_UPDATE, 0, 0, 1, demands_one)))
        self._direction.go_on()
        return record


class RecordReader:
    """Read records of the end whose traffic secret is given, and follow its KeyUpdates."""

    def __init__(self, secret: bytes) -> None:
        self._direction = _Direction(secret)
        self._tickets = 4  # so many records may have been sent before
        self.key_updates = 0

    def read(self, wire: bytes) -> bytes:
        """Return the application data in ``wire``, which is whole records."""
        plain = b""
        while wire:
            size = 5 + int.from_bytes(wire[3:5], "big")
            plain += self._read_record(wire[:5], wire[5:size])
            wire = wire[size:]
        return plain

    def _read_record(self, head: bytes, body: bytes) -> bytes:
        try:
            inner = self._direction.key.decrypt(self._direction.nonce(), body, head)
        except InvalidTag:
            if not self._tickets:
                raise
            self._tickets -= 1
            self._direction.sequence += 1
            return self._read_record(head, body)
        self._tickets = 0
        self._direction.sequence += 1
        kind, data = inner[-1], inner[:-1]
        if kind == APPLICATION_DATA:
            return data
        assert kind == HANDSHAKE
        assert data == bytes((_KEY_UPDATE, 0, 0, 1, 0))  # one that demands none in return
        self.key_updates += 1
        self._direction.go_on()
        return b""


def traffic_secret(key_log: Path, end: str) -> bytes:
    """Return the first application traffic secret of ``end``, CLIENT or SERVER, of a connection."""
    for line in key_log.read_text("ascii").splitlines():
        label, _, rest = line.partition(" ")
        if label == f"{end}_TRAFFIC_SECRET_0":
            return bytes.fromhex(rest.split(" ")[1])
    raise AssertionError("no TLS 1.3 connection in the key log")


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\x00"
    return HKDFExpand(SHA384(), size, info).derive(secret)
