"""WebSocket frames (RFC 6455 section 5), server side: two layers.

Owns: layer 1, ``FrameHeaders``: one frame header at a time, every rule that a header can break; and
layer 2, ``WebSocketReader``: payloads, unmasked, with UTF-8 and close codes checked. Frames to send
are made by ``frame_header`` and ``close_frame``; servers do not mask, so there is no randomness
here.

Must not know: handshakes (``ws_handshake``), frames that only pass through (``ws_relay``), what the
payload means, when to ping.

Theory of operation. For a bridge the payload is a byte stream and message boundaries mean nothing,
so nothing is ever assembled: what is there of a frame is handed on at once, and what is kept
between two calls is at most an incomplete header and an incomplete control frame. ``read_binary``
is the fast path: it takes frames for as long as they are final, binary and shorter than 64 KiB,
which is what agents send, and stops in front of everything else. ``next_event`` is the slow path:
it takes *anything*, one step at a time, and holds every rule. Both work on the same state and can
be called in any order:

    reader.receive_data(data)
    payload = reader.read_binary()         # hot
    while (event := reader.next_event()):  # rare: control frames, fragments, text, huge frames
        ...
"""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.errors import MessageTooBig, RemoteProtocolError, UnsupportedMessage
from gateway.protocol.masking import apply_mask

# A message may be any size by RFC 6455; real agents send 8,194 bytes (PROTOCOLS A.6), Jetty takes
# 64 KiB, Tyrus 4 MiB. Payload is streamed, so this bounds absurdity and not memory.
DEFAULT_MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_CONTROL_PAYLOAD: Final = 125  # RFC 6455 section 5.5


class Opcode(IntEnum):
    """RFC 6455 section 11.8; anything else is an error."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """The codes that this program sends (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_PAYLOAD = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


# What may stand in a Close frame: 1004-1006 and 1015 never do, 1016-2999 are reserved.
_RECEIVABLE_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame header. ``size`` is its own length in bytes, ``length`` that of the payload."""

    final: bool
    opcode: Opcode
    length: int
    mask: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a message's payload: never empty unless it ends a frame."""

    opcode: Opcode  # of the message: TEXT or BINARY, also for continuation frames
    payload: bytes
    frame_finished: bool
    message_finished: bool


@dataclass(frozen=True, slots=True)
class Ping:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """``code`` is None where the frame had none (RFC 6455 calls that 1005)."""

    code: int | None
    reason: str


Event = Data | Ping | Pong | Close


class FrameHeaders:
    """Layer 1: read frame headers and hold the rules that span them.

    ``masked`` says whether the peer must mask (a client) or must not (a server).
    """

    __slots__ = ("_masked", "_max_message", "_message_size", "message")

    def __init__(self, *, masked: bool, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        self._masked = masked
        self._max_message = max_message
        self._message_size = 0
        self.message: Opcode | None = None  # the message that waits for continuation frames

    def read(self, data: bytes | bytearray, pos: int = 0) -> FrameHeader | None:
        """Return the header at ``pos``, or None if it is not all there. Raises RemoteProtocolError.

        Faults of the first two bytes are reported at once, those of the length with the whole
        header.
        """
        available = len(data) - pos
        if available < 1:
            return None
        first = data[pos]
        opcode = self._check_first(first)
        if available < 2:
            return None
        second = data[pos + 1]
        if bool(second & 0x80) != self._masked:
            raise RemoteProtocolError(
                "a client must mask its frames" if self._masked else "a server must not mask"
            )
        short = second & 0x7F
        if opcode >= Opcode.CLOSE and short > MAX_CONTROL_PAYLOAD:
            raise RemoteProtocolError("control frame longer than 125 bytes")
        size = 2 + (2 if short == 126 else 8 if short == 127 else 0) + (4 if self._masked else 0)
        if available < size:
            return None
        length = _length(data, pos, short)
        final = bool(first & 0x80)
        if opcode < Opcode.CLOSE:
            self._check_size(opcode, length)
            self._advance(opcode, final)
        mask = bytes(data[pos + size - 4 : pos + size]) if self._masked else b""
        return FrameHeader(final, opcode, length, mask, size)

    def _check_first(self, first: int) -> Opcode:
        if first & 0x70:
            raise RemoteProtocolError("reserved bits are set, but no extension was agreed on")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise RemoteProtocolError(f"unknown opcode {first & 0x0F:#x}") from None
        if opcode >= Opcode.CLOSE:
            if not first & 0x80:
                raise RemoteProtocolError("fragmented control frame")
        elif opcode is Opcode.CONTINUATION:
            if self.message is None:
                raise RemoteProtocolError("continuation frame without a message to continue")
        elif self.message is not None:
            raise RemoteProtocolError("new message inside a fragmented one")
        return opcode

    def _check_size(self, opcode: Opcode, length: int) -> None:
        size = length + (self._message_size if opcode is Opcode.CONTINUATION else 0)
        if size > self._max_message:
            raise MessageTooBig(f"message longer than {self._max_message} bytes")
        self._message_size = size

    def _advance(self, opcode: Opcode, final: bool) -> None:
        if final:
            self.message = None
        elif opcode is not Opcode.CONTINUATION:
            self.message = opcode


def _length(data: bytes | bytearray, pos: int, short: int) -> int:
    if short < 126:
        return short
    if short == 126:
        length = data[pos + 2] << 8 | data[pos + 3]
        minimum = 126
    else:
        length = int.from_bytes(data[pos + 2 : pos + 10], "big")
        minimum = 0x10000
        if length >> 63:
            raise RemoteProtocolError("frame length with its highest bit set")
    if length < minimum:
        raise RemoteProtocolError("frame length not in its shortest form")  # section 5.2, MUST
    return length


class WebSocketReader:
    """Layer 2, for a server: bytes from the client in, payload and control frames out.

    ``accept_text`` false makes a text frame an UnsupportedMessage. After a Close frame everything
    else is ignored (RFC 6455 section 5.5.1). Raises RemoteProtocolError and its kin, and nothing
    else.
    """

    __slots__ = (
        "_accept_text",
        "_control",
        "_data",
        "_frame",
        "_headers",
        "_mask",
        "_opcode",
        "_pos",
        "_remaining",
        "_utf8",
        "closed",
    )

    def __init__(
        self, *, accept_text: bool = False, max_message: int = DEFAULT_MAX_MESSAGE
    ) -> None:
        if max_message < 0xFFFF:
            raise ValueError("the fast path needs max_message >= 65535")
        self._accept_text = accept_text
        self._headers = FrameHeaders(masked=True, max_message=max_message)
        self._data: bytes = b""
        self._pos = 0
        self._frame: FrameHeader | None = None  # the frame whose payload we are in
        self._opcode = Opcode.BINARY  # of the message we are in, or were in last
        self._mask = b""  # rotated to where the next payload byte stands
        self._remaining = 0
        self._control = bytearray()
        self._utf8 = _new_decoder()
        self.closed = False

    def receive_data(self, data: bytes) -> None:
        """Take ``data``; what was left over from before is at most an incomplete header."""
        if self.closed:
            return  # nobody takes it any more, and it must not pile up
        self._data = self._data[self._pos :] + data if self._pos < len(self._data) else data
        self._pos = 0

    @property
    def inside_message(self) -> bool:
        """Whether a fragmented message waits for its continuation frames."""
        return self._headers.message is not None

    # -- fast path ---------------------------------------------------------------------------------

    def read_binary(self) -> bytes:
        """Return payload for as long as nothing but plain binary frames comes; ``b""`` if nothing.

        Takes the rest of a binary frame, then final binary frames shorter than 64 KiB, the last of
        them as far as it is there. Never raises: what it does not take is for ``next_event``.
        """
        data = self._data
        pos = self._pos
        end = len(data)
        if pos == end or self.closed:
            return b""
        view = memoryview(data)
        parts: list[bytes] = []
        frame = self._frame
        if frame is not None:
            if frame.opcode >= Opcode.CLOSE or self._opcode is not Opcode.BINARY:
                return b""
            parts.append(self._take())
            pos = self._pos
            if self._remaining:
                return parts[0]
            self._frame = None
        if self._headers.message is None:
            while end - pos >= 8 and data[pos] == 0x82:
                second = data[pos + 1]
                if second == 0xFE:
                    length = data[pos + 2] << 8 | data[pos + 3]
                    start = pos + 8
                    if length < 126:
                        break  # not the shortest form: the slow path says so
                elif 0x80 <= second < 0xFE:
                    length = second & 0x7F
                    start = pos + 6
                else:
                    break
                mask = data[start - 4 : start]
                stop = start + length
                if stop > end:
                    self._pos = start
                    self._start(FrameHeader(True, Opcode.BINARY, length, mask, start - pos))
                    parts.append(self._take())
                    pos = end
                    break
                parts.append(apply_mask(view[start:stop], mask))
                pos = stop
        self._pos = pos
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _start(self, frame: FrameHeader) -> None:
        self._frame = frame
        self._remaining = frame.length
        self._mask = frame.mask
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._opcode = frame.opcode

    def _take(self) -> bytes:
        """Take and unmask what is there of the current frame's payload."""
        start = self._pos
        stop = min(len(self._data), start + self._remaining)
        payload = apply_mask(memoryview(self._data)[start:stop], self._mask)
        self._pos = stop
        self._remaining -= stop - start
        turn = (stop - start) % 4
        if turn:
            self._mask = self._mask[turn:] + self._mask[:turn]
        return payload

    # -- slow path ---------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """Return what comes next, or None if more bytes are needed. Raises RemoteProtocolError."""
        event = self._next_event()
        if event is None and self._pos:
            # What was read is let go now: an idle session would keep its last batch, of up to
            # 512 KiB, until the next one came.
            self._data = self._data[self._pos :]
            self._pos = 0
        return event

    def _next_event(self) -> Event | None:
        if self.closed:
            return None
        frame = self._frame
        if frame is None:
            frame = self._headers.read(self._data, self._pos)
            if frame is None:
                return None
            if frame.opcode is Opcode.TEXT and not self._accept_text:
                raise UnsupportedMessage
            self._pos += frame.size
            self._start(frame)
        if frame.opcode >= Opcode.CLOSE:
            return self._control_event(frame)
        return self._data_event(frame)

    def _data_event(self, frame: FrameHeader) -> Data | None:
        payload = self._take()
        if not payload and self._remaining:
            return None
        frame_finished = not self._remaining
        if frame_finished:
            self._frame = None
        message_finished = frame_finished and frame.final
        if self._opcode is Opcode.TEXT:
            try:
                self._utf8.decode(payload, message_finished)
            except UnicodeDecodeError:
                raise RemoteProtocolError(
                    "text is not UTF-8", close_hint=CloseCode.INVALID_PAYLOAD
                ) from None
        return Data(self._opcode, payload, frame_finished, message_finished)

    def _control_event(self, frame: FrameHeader) -> Ping | Pong | Close | None:
        self._control += self._take()
        if self._remaining:
            return None
        payload = bytes(self._control)
        self._control.clear()
        self._frame = None
        if frame.opcode is Opcode.PING:
            return Ping(payload)
        if frame.opcode is Opcode.PONG:
            return Pong(payload)
        event = _parse_close(payload)
        self.closed = True
        self._data = b""  # nobody takes what came behind it
        self._pos = 0
        return event


def _new_decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")()


def is_close_code(code: int) -> bool:
    """Say whether ``code`` may stand in a Close frame."""
    return code in _RECEIVABLE_CODES or 3000 <= code <= 4999


def _parse_close(payload: bytes) -> Close:
    if not payload:
        return Close(None, "")
    if len(payload) == 1:
        raise RemoteProtocolError("Close frame with one byte of payload")
    code = int.from_bytes(payload[:2], "big")
    if not is_close_code(code):
        raise RemoteProtocolError(f"Close frame with code {code}")
    try:
        return Close(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise RemoteProtocolError(
            "close reason is not UTF-8", close_hint=CloseCode.INVALID_PAYLOAD
        ) from None


# -- sending ---------------------------------------------------------------------------------------


def frame_header(opcode: Opcode, length: int, *, final: bool = True) -> bytes:
    """Return the header of an unmasked frame with ``length`` bytes of payload."""
    first = opcode | (0x80 if final else 0)
    if length < 126:
        return bytes((first, length))
    if length < 0x10000:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def control_frame(opcode: Opcode, payload: bytes = b"") -> bytes:
    """Return a Ping, Pong or Close frame; ``payload`` is at most 125 bytes."""
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError("control frames carry at most 125 bytes")
    return frame_header(opcode, len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a Close frame; ``reason`` is cut at a character to fit 123 bytes."""
    text = reason.encode("utf-8")[: MAX_CONTROL_PAYLOAD - 2].decode("utf-8", "ignore")
    return control_frame(Opcode.CLOSE, struct.pack("!H", code) + text.encode("utf-8"))
