"""The gate for chunked bodies: chunked transfer coding, read strictly (RFC 9112 section 7.1).

Owns: the decision whether a chunked body is believed, its trailer fields in their case, and where
it ends. It stands in front of h11, which decodes the body but forgives bare LF and folded lines in
trailers and anything at all in chunk extensions: differences that requests are smuggled with.

Must not know: what is in the body, h11, sockets.

``receive_data`` looks at the bytes and keeps none but an unfinished line; it is linear in their
number.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_headers import Field
from gateway.protocol.http_rules import read_fields

# Fifteen digits stay below 2**60, where no implementation wraps around. White space between size
# and semicolon ("bad white space" in RFC 9112 section 7.1.1) is refused, as h11 does.
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
# Fields that decide about framing or routing have no business behind the body (RFC 9110 section
# 6.5.1).
_NOT_IN_TRAILERS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """How much framing a chunked body may have.

    ``size_line``: bytes of a chunk's first line, extensions included (nobody real sends any;
    llhttp allows 16 KiB of them for a whole body). ``trailers`` and ``fields``: bytes and number of
    the trailer section.
    """

    size_line: int = 256
    trailers: int = 8 * 1024
    fields: int = 100


class _State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    AFTER_DATA = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()


class ChunkedGate:
    """Follow one chunked body. ``trailers`` is complete once ``done`` is true."""

    __slots__ = ("_limits", "_line", "_remaining", "_state", "_trailer_block", "trailers")

    def __init__(self, limits: ChunkLimits) -> None:
        self._limits = limits
        self._state = _State.SIZE
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._remaining = 0
        self._trailer_block = b""
        self.trailers: tuple[Field, ...] = ()

    @property
    def done(self) -> bool:
        """Say whether the whole body has been seen."""
        return self._state is _State.DONE

    def receive_data(self, data: bytes) -> int:
        """Look at ``data``; return how many of its bytes belong to the body.

        All of them, unless the body ends in between. Raises RemoteProtocolError.
        """
        at = 0
        while at < len(data) and self._state is not _State.DONE:
            if self._state is _State.DATA:
                step = min(self._remaining, len(data) - at)
                self._remaining -= step
                at += step
                if not self._remaining:
                    self._state = _State.AFTER_DATA
            else:
                at = self._read_line(data, at)
        return at

    def _read_line(self, data: bytes, at: int) -> int:
        limit = self._line_limit()
        end = data.find(b"\n", at, at + limit - len(self._line))
        if end < 0:
            self._line += data[at : at + limit]
            if self._state is _State.AFTER_DATA and self._line != b"\r":
                raise RemoteProtocolError("a chunk is longer than it says")
            if len(self._line) >= limit:
                raise RemoteProtocolError("line too long in a chunked body")
            return len(data)
        line = bytes(self._line + data[at : end + 1])
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise RemoteProtocolError("bare LF in a chunked body")
        self._take_line(line)
        return end + 1

    def _line_limit(self) -> int:
        if self._state is _State.AFTER_DATA:
            return 2
        if self._state is _State.SIZE:
            return self._limits.size_line
        return self._limits.trailers - len(self._trailer_block)

    def _take_line(self, line: bytes) -> None:
        if self._state is _State.AFTER_DATA:
            self._state = _State.SIZE  # two bytes that end in CRLF are CRLF
        elif self._state is _State.SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise RemoteProtocolError("malformed chunk size")
            self._remaining = int(match[1], 16)
            self._state = _State.DATA if self._remaining else _State.TRAILERS
        elif line == b"\r\n":
            self.trailers = read_fields(self._trailer_block, self._limits.fields)
            if any(name.lower() in _NOT_IN_TRAILERS for name, _ in self.trailers):
                raise RemoteProtocolError("a framing field among the trailers")
            self._state = _State.DONE
        else:
            self._trailer_block += line
