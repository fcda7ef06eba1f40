"""Bytes for load generators, made once and sent many times.

Owns: an agent's masked frames and a controller's chunks, in blocks of about 1 MiB, so that the
generator spends its time in TLS and the kernel and not in Python.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from typing import Final

CHUNK_BODY: Final = 8192
CHUNK: Final = struct.pack("!H", 0x8000 | CHUNK_BODY) + bytes(CHUNK_BODY)
CHUNKS_PER_BLOCK: Final = 128
CAPABILITY: Final = (
    "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAf4="
)


def masked_frame(payload: bytes, opcode: int = 2) -> bytes:
    """Return a final frame as a client sends it."""
    mask = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 0x10000:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, size)
    repeated = (mask * (size // 4 + 1))[:size]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + body.to_bytes(size, "big")


def server_frame(payload: bytes) -> bytes:
    """Return a final binary frame as a server sends it."""
    size = len(payload)
    head = struct.pack("!BB", 0x82, size) if size < 126 else struct.pack("!BBH", 0x82, 126, size)
    return head + payload


@cache
def agent_block() -> bytes:
    """128 frames of one 8 KiB chunk each, as agent.jar sends them."""
    return masked_frame(CHUNK) * CHUNKS_PER_BLOCK


@cache
def origin_block() -> bytes:
    """The same from a WebSocket origin."""
    return server_frame(CHUNK) * CHUNKS_PER_BLOCK


@cache
def controller_block() -> bytes:
    """128 chunks as they follow each other in JNLP4."""
    return CHUNK * CHUNKS_PER_BLOCK


# What the far end says last; agents look for it at the end of what they receive.
MARKER: Final = b"<<end of this work>>"

ANSWER_BODY: Final = 8


def message_frame(size: int) -> bytes:
    """Return a frame whose payload is one chunk of ``size`` bytes, its header included."""
    return masked_frame(struct.pack("!H", size - 2) + bytes(size - 2))


@cache
def batch_frames(size: int) -> tuple[bytes, int]:
    """Return about ``size`` bytes of frames, and how long their payload is."""
    if size < len(CHUNK):
        return message_frame(size), size
    count = size // CHUNK_BODY
    return masked_frame(CHUNK) * count, len(CHUNK) * count
