"""One end's TLS 1.3 records, written by hand (RFC 8446 sections 5.2 and 7).

Owns: what no TLS library lets its user send: KeyUpdates at will. It takes over a connection after
its handshake, from the traffic secret in a key log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
UPDATE_REQUESTED: Final = bytes((24, 0, 0, 1, 1))
_HASH_SIZE: Final = 48


class RecordWriter:
    """Write records as the end whose application traffic secret is given.

    The cipher suite is TLS_AES_256_GCM_SHA384, and nothing has been sent with ``secret`` yet.
    """

    def __init__(self, secret: bytes) -> None:
        self._start(secret)

    def write(self, kind: int, data: bytes) -> bytes:
        """Return one record of ``kind``."""
        inner = data + bytes((kind,))
        head = bytes((APPLICATION_DATA, 3, 3)) + (len(inner) + 16).to_bytes(2, "big")
        nonce = bytes(
            a ^ b for a, b in zip(self._iv, self._sequence.to_bytes(12, "big"), strict=True)
        )
        self._sequence += 1
        return head + self._key.encrypt(nonce, inner, head)

    def key_update(self) -> bytes:
        """Return a KeyUpdate that demands one in return, and go on with the next keys."""
        record = self.write(HANDSHAKE, UPDATE_REQUESTED)
        self._start(_expand(self._secret, b"traffic upd", _HASH_SIZE))
        return record

    def _start(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(_expand(secret, b"key", 32))
        self._iv = _expand(secret, b"iv", 12)
        self._sequence = 0


def client_secret(key_log: Path) -> bytes:
    """Return the client's first application traffic secret from a key log of one connection."""
    for line in key_log.read_text("ascii").splitlines():
        label, _, rest = line.partition(" ")
        if label == "CLIENT_TRAFFIC_SECRET_0":
            return bytes.fromhex(rest.split(" ")[1])
    raise AssertionError("no TLS 1.3 connection in the key log")


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\x00"
    return HKDFExpand(SHA384(), size, info).derive(secret)
