"""The frames of the Jenkins CLI, ``PlainCLIProtocol`` (PROTOCOLS E.1).

Owns: the operations, who may send which, and both forms of a frame: with a length, in the bodies of
the full-duplex HTTP transport, and without one, as a WebSocket message.

Must not know: which transport it is, policy, what a command does.

Theory of operation. Output and input are byte streams cut into frames at will, so a frame of them
that is longer than a message may be is handed on in pieces, as it comes, and nothing is bounded by
what a frame claims (it may claim 2 GiB). All else is kept until it is whole and is small by its
nature. A frame that nobody understands is skipped, as Jenkins does; ``skipped`` counts them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from gateway.errors import RemoteProtocolError
from gateway.protocol.java_text import MAX_SIZE, write_utf

# What the client puts into one message (PROTOCOLS E.2), so what every peer is known to take.
PIECE: Final = 60_000
# Controllers accept messages up to this (PROTOCOLS E.2).
MAX_MESSAGE: Final = 65_536
_HEAD: Final = struct.Struct("!iB")
_MAX_TEXT: Final = 2 + MAX_SIZE


class Op(IntEnum):
    """What a frame is; the number is the byte on the wire."""

    ARG = 0
    LOCALE = 1
    ENCODING = 2
    START = 3
    EXIT = 4
    STDIN = 5
    END_STDIN = 6
    STDOUT = 7
    STDERR = 8


class Sender(Enum):
    """Who sends the frames, and with it which."""

    CLIENT = frozenset({Op.ARG, Op.LOCALE, Op.ENCODING, Op.START, Op.STDIN, Op.END_STDIN})
    CONTROLLER = frozenset({Op.EXIT, Op.STDOUT, Op.STDERR})


_STREAMS: Final = frozenset({Op.STDIN, Op.STDOUT, Op.STDERR})
# The longest payload of what is no stream.
_LIMITS: Final = {
    Op.ARG: _MAX_TEXT,
    Op.LOCALE: _MAX_TEXT,
    Op.ENCODING: _MAX_TEXT,
    Op.START: 0,
    Op.EXIT: 4,
    Op.END_STDIN: 0,
}


@dataclass(frozen=True, slots=True)
class CliFrame:
    """One frame, or a piece of a longer STDIN, STDOUT or STDERR."""

    op: Op
    payload: bytes = b""

    def as_message(self) -> bytes:
        """Return it as a WebSocket message."""
        return bytes((self.op,)) + self.payload

    def as_stream(self) -> bytes:
        """Return it as it stands in an HTTP body."""
        return _HEAD.pack(len(self.payload), self.op) + self.payload


def text_frame(op: Op, text: str) -> CliFrame:
    """Return an ARG, LOCALE or ENCODING."""
    return CliFrame(op, write_utf(text))


def exit_frame(code: int) -> CliFrame:
    """Return the EXIT with ``code``, a signed 32-bit number."""
    return CliFrame(Op.EXIT, struct.pack("!i", code))


def exit_code(frame: CliFrame) -> int:
    """Return what an EXIT says. Raises RemoteProtocolError."""
    if len(frame.payload) != 4:
        raise RemoteProtocolError("malformed EXIT", detail=f"{len(frame.payload)} bytes")
    code: int = struct.unpack("!i", frame.payload)[0]
    return code


def read_message(message: bytes, sender: Sender) -> CliFrame | None:
    """Return the frame that a WebSocket message is; None for one to be skipped.

    Raises RemoteProtocolError for an empty message, an operation of 128 or more, and a frame that
    is longer than any can be.
    """
    if not message:
        raise RemoteProtocolError("empty message")
    op = _op(message[0], sender)
    if op is None:
        return None
    _check_length(op, len(message) - 1)
    return CliFrame(op, message[1:])


def _op(byte: int, sender: Sender) -> Op | None:
    if byte >= 0x80:
        raise RemoteProtocolError("corrupt stream", detail=f"operation {byte}")
    return Op(byte) if byte in sender.value else None


def _check_length(op: Op, length: int) -> None:
    if op in _LIMITS and length > _LIMITS[op]:
        raise RemoteProtocolError("corrupt stream", detail=f"{op.name} of {length} bytes")


class CliFrameReader:
    """The frames in an HTTP body, in one direction."""

    __slots__ = ("_data", "_op", "_pos", "_remaining", "_sender", "skipped")

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._data = b""
        self._pos = 0
        self._op: Op | None = None
        self._remaining = -1  # bytes of the current frame that are to come; -1: between two
        self.skipped = 0

    @property
    def between_frames(self) -> bool:
        """Say whether all that was received is whole frames."""
        return self._remaining < 0 and self._pos == len(self._data)

    def receive_data(self, data: bytes) -> None:
        """Take ``data``; what was left over is at most an incomplete frame that is no stream's."""
        self._data = self._data[self._pos :] + data if self._pos < len(self._data) else data
        self._pos = 0

    def frames(self) -> Iterator[CliFrame]:
        """Yield what is there. Raises RemoteProtocolError where the stream is corrupt."""
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> CliFrame | None:
        while True:
            if self._remaining < 0 and not self._read_head():
                return None
            available = len(self._data) - self._pos
            if self._op is None:
                self._pos += min(self._remaining, available)
                self._remaining -= min(self._remaining, available)
                if self._remaining:
                    return None
                self.skipped += 1
                self._remaining = -1
                continue
            whole = available >= self._remaining
            if not whole and (self._op not in _STREAMS or not available):
                return None
            return self._take(min(self._remaining, available, PIECE))

    def _take(self, size: int) -> CliFrame:
        assert self._op is not None, "a frame has begun"
        frame = CliFrame(self._op, self._data[self._pos : self._pos + size])
        self._pos += size
        self._remaining -= size
        if not self._remaining:
            self._remaining = -1
        return frame

    def _read_head(self) -> bool:
        if len(self._data) - self._pos < _HEAD.size:
            return False
        length, byte = _HEAD.unpack_from(self._data, self._pos)
        if length < 0:
            raise RemoteProtocolError("corrupt stream", detail=f"a frame of {length} bytes")
        self._op = _op(byte, self._sender)
        if self._op is not None:
            _check_length(self._op, length)
        self._pos += _HEAD.size
        self._remaining = length
        return True
