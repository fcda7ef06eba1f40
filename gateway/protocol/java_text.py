"""Java's modified UTF-8, as ``DataOutputStream.writeUTF`` writes it (PROTOCOLS 0.1).

Owns: text with a 16-bit length in front, in both directions.

Must not know: what the text means.

Only the one spelling that Java itself writes is read. ``DataInputStream.readUTF`` also takes
longer spellings of a character (``C1 A7`` for ``g``), a bare NUL, and more bytes than the text
has; who writes those wants the text to look different to different readers.
"""

from __future__ import annotations

import struct
from typing import Final

from gateway.errors import RemoteProtocolError

MAX_SIZE: Final = 0xFFFF
"""Bytes of an encoded text."""


def write_utf(text: str) -> bytes:
    """Return ``text`` with its length in front. Raises ValueError beyond 65535 bytes."""
    encoded = _encode(text)
    if len(encoded) > MAX_SIZE:
        raise ValueError("longer than 65535 bytes in modified UTF-8")
    return struct.pack("!H", len(encoded)) + encoded


def read_utf(data: bytes) -> str:
    """Return the text that is all of ``data``, length included. Raises RemoteProtocolError.

    Half a surrogate pair, which Java allows, comes out as it is.
    """
    if len(data) < 2 or len(data) - 2 != data[0] << 8 | data[1]:
        raise RemoteProtocolError("malformed text", detail="its length is not that of the rest")
    encoded = data[2:]
    try:
        # C0 80 is what stands for NUL; with it out of the way this is UTF-8 but for surrogates,
        # which are joined behind that.
        halves = encoded.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
        text = halves.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("malformed text", detail=error.reason) from None
    if _encode(text) != encoded:
        raise RemoteProtocolError("malformed text", detail="not as Java writes it")
    return text


def _encode(text: str) -> bytes:
    units = text.encode("utf-16-be", "surrogatepass")
    halves = "".join(map(chr, struct.unpack(f"!{len(units) // 2}H", units)))
    return halves.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
