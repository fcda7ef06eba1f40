"""An echo server on our WebSocket core, for conformance suites to judge.

Owns: the handshake through the head gate, echoing what arrives, answering pings, and ending a
connection with the close code that the error table gives. Agents' sessions take binary messages
only and give them no boundaries, so the real listener cannot be judged by a suite that wants its
text back: this server takes text and keeps boundaries, on the same readers.

The core can be read in two ways, and each is judged:

    SLOW    ``next_event`` alone; each piece of payload is echoed as a fragment.
    MIXED   ``read_binary`` and ``next_event`` in turns, as sessions do. The fast path hands on
            payload without boundaries, so the other layer, ``FrameHeaders``, walks over the same
            bytes for them: if the two disagree by one byte, no echo fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

import trio

from gateway.errors import RemoteProtocolError, outcome_of
from gateway.protocol.http_head import HeadLimits, RequestHeadReader, write_response_head
from gateway.protocol.websocket import (
    Close,
    Data,
    FrameHeaders,
    Opcode,
    Ping,
    WebSocketReader,
    close_frame,
    control_frame,
    frame_header,
)
from gateway.protocol.ws_handshake import check_upgrade, upgrade_answer

MAX_MESSAGE: Final = 16 * 1024 * 1024  # the longest that the suite sends
_RECEIVE_SIZE: Final = 256 * 1024
# How long a client may take to leave once it has been told that the connection is over.
_LINGER: Final = 5.0


class Mode(Enum):
    """How the core is read."""

    SLOW = auto()
    MIXED = auto()


@dataclass(slots=True)
class Tally:
    """What the connections of a server came to; shows that a mode took the path it is named for."""

    connections: int = 0
    fast_bytes: int = 0
    slow_bytes: int = 0
    close_codes: list[int] = field(default_factory=list)  # sent for faults of the client


class Echo:
    """One open connection: bytes in, bytes out. ``finished`` after a Close frame or a fault.

    An echo is kept until its message is complete: the suite writes a whole message, of up to 16
    MiB, before it reads anything.
    """

    def __init__(self, tally: Tally) -> None:
        self.finished = False
        self._tally = tally
        self._reader = WebSocketReader(accept_text=True, max_message=MAX_MESSAGE)
        self._out: list[bytes] = []
        self._echo: list[bytes] = []  # fragments of a message that is not complete

    def receive_data(self, data: bytes) -> bytes:
        """Take ``data``; return what is to be sent."""
        self._out = []
        self._reader.receive_data(data)
        try:
            self._read()
        except RemoteProtocolError as error:
            code = outcome_of(error).close_code
            assert code is not None
            self._tally.close_codes.append(code)
            self._finish(close_frame(code, error.public))
        return b"".join(self._out)

    def _read(self) -> None:
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, Data):
                self._tally.slow_bytes += len(event.payload)
                self._take_payload(event)
            elif isinstance(event, Ping):
                self._out.append(control_frame(Opcode.PONG, event.payload))
            elif isinstance(event, Close):
                # RFC 6455 section 5.5.1: a typical answer echoes the code.
                code = event.code
                self._finish(control_frame(Opcode.CLOSE) if code is None else close_frame(code))
            self._after_event()

    def _take_payload(self, event: Data) -> None:
        raise NotImplementedError

    def _after_event(self) -> None:
        """Do what a mode does between two events."""

    def _add_fragment(self, opcode: Opcode, payload: bytes, *, final: bool) -> None:
        self._echo += (frame_header(opcode, len(payload), final=final), payload)
        if final:
            self._out += self._echo
            self._echo.clear()

    def _finish(self, farewell: bytes) -> None:
        self._out.append(farewell)
        self.finished = True


class SlowEcho(Echo):
    """Events alone: each piece of payload becomes a fragment."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self._inside = False

    def _take_payload(self, event: Data) -> None:
        opcode = Opcode.CONTINUATION if self._inside else event.opcode
        self._inside = not event.message_finished
        self._add_fragment(opcode, event.payload, final=event.message_finished)


@dataclass(slots=True)
class _Span:
    """The payload of one data frame, of which ``remaining`` bytes have not been echoed."""

    opcode: Opcode
    remaining: int
    final: bool


class _FrameWalk:
    """Where data frames begin and end, by layer 1 alone. Stops in front of the first fault."""

    def __init__(self) -> None:
        self.spans: deque[_Span] = deque()
        self._headers = FrameHeaders(masked=True, max_message=MAX_MESSAGE)
        self._rest = b""  # an incomplete header
        self._skip = 0  # payload that is still to come
        self._stopped = False

    def receive_data(self, data: bytes) -> None:
        data = self._rest + data
        pos = 0
        while not self._stopped:
            step = min(self._skip, len(data) - pos)
            self._skip -= step
            pos += step
            if self._skip:
                break
            try:
                header = self._headers.read(data, pos)
            except RemoteProtocolError:
                self._stopped = True  # the reader comes to the same fault and says so
                break
            if header is None:
                break
            pos += header.size
            self._skip = header.length
            if header.opcode < Opcode.CLOSE:
                self.spans.append(_Span(header.opcode, header.length, header.final))
        self._rest = data[pos:]


class MixedEcho(Echo):
    """Fast path first, then one event, and again, as ``agents.session`` does it."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self._walk = _FrameWalk()

    def receive_data(self, data: bytes) -> bytes:
        self._walk.receive_data(data)
        return super().receive_data(data)

    def _read(self) -> None:
        self._after_event()
        super()._read()
        # All that came has been read, empty frames too, which leave no trace in the payload.
        while self._walk.spans and not self._walk.spans[0].remaining:
            self._echo_span(b"")

    def _take_payload(self, event: Data) -> None:
        self._echo_payload(event.payload)

    def _after_event(self) -> None:
        payload = self._reader.read_binary()
        self._tally.fast_bytes += len(payload)
        self._echo_payload(payload)

    def _echo_payload(self, payload: bytes) -> None:
        while payload:
            payload = self._echo_span(payload)

    def _echo_span(self, payload: bytes) -> bytes:
        """Echo as much of ``payload`` as belongs to the first span; return the rest."""
        span = self._walk.spans[0]
        piece = payload[: span.remaining]
        span.remaining -= len(piece)
        self._add_fragment(span.opcode, piece, final=span.final and not span.remaining)
        if span.remaining:
            span.opcode = Opcode.CONTINUATION
        else:
            self._walk.spans.popleft()
        return payload[len(piece) :]


_ECHOES: Final = {Mode.SLOW: SlowEcho, Mode.MIXED: MixedEcho}


@asynccontextmanager
async def echo_server(mode: Mode) -> AsyncIterator[tuple[str, Tally]]:
    """Run a server on a port of its own; yield ``host:port`` and what its connections come to."""
    tally = Tally()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, partial(_serve, mode, tally), listeners)
        yield f"127.0.0.1:{port}", tally
        nursery.cancel_scope.cancel()


async def _serve(mode: Mode, tally: Tally, stream: trio.SocketStream) -> None:
    tally.connections += 1
    async with stream:
        try:
            await _echo_until_the_end(stream, _ECHOES[mode](tally))
        except trio.BrokenResourceError:
            return  # a suite that has seen enough resets the connection


async def _echo_until_the_end(stream: trio.SocketStream, echo: Echo) -> None:
    data = await _shake_hands(stream)
    while True:
        if data:
            await stream.send_all(echo.receive_data(data))
            if echo.finished:
                break
        data = await stream.receive_some(_RECEIVE_SIZE)
        if not data:
            return
    await stream.send_eof()  # RFC 6455 section 7.1.1: the server is the first to close TCP
    with trio.move_on_after(_LINGER):
        while await stream.receive_some(_RECEIVE_SIZE):
            pass


async def _shake_hands(stream: trio.SocketStream) -> bytes:
    """Answer the request with 101; return what came after it."""
    reader = RequestHeadReader(HeadLimits())
    while (head := reader.receive_data(await stream.receive_some())) is None:
        pass
    answer = upgrade_answer(check_upgrade(head))
    await stream.send_all(write_response_head(101, b"Switching Protocols", answer))
    return reader.trailing_data
