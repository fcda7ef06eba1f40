"""Fuzz targets: WebSocket frames, layer 1 (headers) and layer 2 (payload, fast and slow).

Layer 2 is held against a model: layer 1 over the whole input, and the rules for payload, text and
Close frames written down once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.errors import RemoteProtocolError, UnsupportedMessage, outcome_of
from gateway.protocol.masking import apply_mask_in_python
from gateway.protocol.websocket import (
    Close,
    Data,
    Event,
    FrameHeader,
    FrameHeaders,
    Opcode,
    Ping,
    Pong,
    WebSocketReader,
    close_frame,
    frame_header,
)
from tests.fuzz.common import Pieces, cuttings, held, value_or_error

_MAX_MESSAGE: Final = 0xFFFF  # the smallest that the reader takes
_MAX_HEADER: Final = 14
_MAX_CONTROL: Final = 125


# -- layer 1 ---------------------------------------------------------------------------------------


def frame_headers(data: bytes) -> None:
    """One sequence of headers for every cut, each of which is written as it was read."""
    for masked in (True, False):

        def read(pieces: Pieces, *, masked: bool = masked) -> list[FrameHeader]:
            return _walk(pieces, masked=masked)

        outcomes = [value_or_error(read, pieces) for pieces in cuttings(data)]
        assert all(outcome == outcomes[0] for outcome in outcomes), "cuts make a difference"


def _walk(pieces: Pieces, *, masked: bool) -> list[FrameHeader]:
    headers = FrameHeaders(masked=masked, max_message=_MAX_MESSAGE)
    seen: list[FrameHeader] = []
    rest = b""
    skip = 0
    for piece in pieces:
        rest += piece
        while True:
            step = min(skip, len(rest))
            skip -= step
            rest = rest[step:]
            if skip or (header := headers.read(rest)) is None:
                break
            assert _written(header, masked=masked) == rest[: header.size]
            seen.append(header)
            skip = header.length
            rest = rest[header.size :]
        assert len(rest) < _MAX_HEADER
    return seen


def _written(header: FrameHeader, *, masked: bool) -> bytes:
    plain = frame_header(header.opcode, header.length, final=header.final)
    if not masked:
        return plain
    return bytes((plain[0], plain[1] | 0x80)) + plain[2:] + header.mask


# -- layer 2 ---------------------------------------------------------------------------------------


@dataclass
class Reading:
    """Payload and control events in order, adjacent payload of one kind joined, and the fault."""

    seen: list[Event | tuple[Opcode, bytes]] = field(default_factory=list)
    fault: type[RemoteProtocolError] | None = None
    code: int | None = None

    def add(self, opcode: Opcode, payload: bytes) -> None:
        last = self.seen[-1] if self.seen else None
        if isinstance(last, tuple) and last[0] is opcode:
            self.seen[-1] = (opcode, last[1] + payload)
        elif payload:
            self.seen.append((opcode, payload))

    def fail(self, error: RemoteProtocolError) -> None:
        self.fault = type(error)
        self.code = outcome_of(error).close_code
        # How much of a text goes out before its fault is seen depends on the cuts.
        last = self.seen[-1] if self.seen else None
        if self.code == 1007 and isinstance(last, tuple) and last[0] is Opcode.TEXT:
            self.seen.pop()


def frames(data: bytes) -> None:
    """The model's events and verdict, for every cut and both ways of reading."""
    for accept_text in (True, False):
        expected = _Model(accept_text=accept_text).read(data)
        for pieces in cuttings(data):
            for fast in (False, True):
                reading = _read(pieces, accept_text=accept_text, fast=fast)
                assert reading == expected, (fast, [len(piece) for piece in pieces])


def _read(pieces: Pieces, *, accept_text: bool, fast: bool) -> Reading:
    reader = WebSocketReader(accept_text=accept_text, max_message=_MAX_MESSAGE)
    reading = Reading()
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while True:
                if fast:
                    reading.add(Opcode.BINARY, reader.read_binary())
                event = reader.next_event()
                if event is None:
                    break
                if isinstance(event, Data):
                    assert event.payload or event.frame_finished
                    assert event.frame_finished or not event.message_finished
                    reading.add(event.opcode, event.payload)
                else:
                    reading.seen.append(event)
                    _check_answer(event)
            # What was read is let go: an idle session keeps no batch.
            assert held(reader) <= _MAX_HEADER + _MAX_CONTROL
    except RemoteProtocolError as error:
        reading.fail(error)
    return reading


def _check_answer(event: Event) -> None:
    if isinstance(event, Close) and event.code is not None:
        answer = close_frame(event.code, event.reason)
        assert len(answer) == 4 + len(event.reason.encode())


class _Model:
    """What section 5 to 8 of RFC 6455 make of an input, by layer 1 and without any economy."""

    def __init__(self, *, accept_text: bool) -> None:
        self._accept_text = accept_text
        self._reading = Reading()
        self._kind = Opcode.BINARY
        self._text = b""

    def read(self, data: bytes) -> Reading:
        headers = FrameHeaders(masked=True, max_message=_MAX_MESSAGE)
        try:
            while (header := headers.read(data)) is not None:
                payload = data[header.size : header.size + header.length]
                data = data[header.size + header.length :]
                complete = len(payload) == header.length
                payload = apply_mask_in_python(payload, header.mask)
                if header.opcode >= Opcode.CLOSE:
                    if complete:
                        self._add_control(header.opcode, payload)
                    if header.opcode is Opcode.CLOSE:
                        break
                else:
                    self._add_data(header, payload, complete=complete)
                if not complete:
                    break
        except RemoteProtocolError as error:
            self._reading.fail(error)
        return self._reading

    def _add_control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            self._reading.seen.append(Ping(payload))
        elif opcode is Opcode.PONG:
            self._reading.seen.append(Pong(payload))
        else:
            self._reading.seen.append(_close(payload))

    def _add_data(self, header: FrameHeader, payload: bytes, *, complete: bool) -> None:
        if header.opcode is not Opcode.CONTINUATION:
            self._kind = header.opcode
            self._text = b""
        if self._kind is Opcode.TEXT:
            if not self._accept_text:
                raise UnsupportedMessage
            self._text += payload
            _check_text(self._text, final=header.final and complete)
        self._reading.add(self._kind, payload)


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(None, "")
    code = int.from_bytes(payload[:2], "big")
    reserved = (1004, 1005, 1006, 1015)
    if len(payload) == 1 or not 1000 <= code <= 4999 or code in reserved or 1016 <= code <= 2999:
        raise RemoteProtocolError("close code")
    _check_text(payload[2:], final=True)
    return Close(code, payload[2:].decode())


def _check_text(text: bytes, *, final: bool) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if final or error.reason != "unexpected end of data":
            raise RemoteProtocolError("not UTF-8", close_hint=1007) from None
