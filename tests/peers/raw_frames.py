"""WebSocket frames as a client may write them, broken ones included.

Owns: RFC 6455 section 5.2 written down once more, byte by byte, so that every field can be made
wrong on purpose. Well-behaved agents are played by ``ws_agent``.
"""

from __future__ import annotations

from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MASK: Final = b"\x37\xfa\x21\x3d"  # the one of RFC 6455 section 5.7


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """XOR ``payload`` with ``mask``, which is its own inverse."""
    key = mask * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, key, strict=False))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """Return one frame.

    ``reserved`` is three bits; ``mask=None`` leaves the payload unmasked; ``length`` is what the
    header claims instead of the truth; ``length_bytes`` is how wide it is written (0, 2 or 8
    bytes), the shortest form by default.
    """
    claimed = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 0 if claimed < 126 else 2 if claimed < 0x10000 else 8
    short = {0: claimed, 2: 126, 8: 127}[length_bytes]
    head = bytes(((final << 7) | (reserved << 4) | opcode, ((mask is not None) << 7) | short))
    head += claimed.to_bytes(length_bytes, "big") if length_bytes else b""
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a Close frame with ``code``."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)
