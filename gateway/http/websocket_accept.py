"""A WebSocket that ends here: trio-websocket, behind our own parsers.

Owns: every use of trio-websocket. The request's head has passed the gate and 101 is sent by the
exchange, so trio-websocket is shown a head that was made for it, and its answer goes nowhere. After
that every frame's header passes ``protocol.websocket`` first: a frame that breaks a rule never
reaches trio-websocket, which would close there and then, so that the endpoint has the last word.

Must not know: what messages mean; when to ping, and when a silent client is given up.

It serves where people's own pace sets the rate. Agents' sessions have a core of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
import trio_websocket

from gateway.errors import RemoteProtocolError, UnsupportedMessage
from gateway.http.exchange import Exchange
from gateway.protocol.websocket import FrameHeader, FrameHeaders, Opcode
from gateway.protocol.ws_handshake import accept_value
from gateway.transport.stream import Stream, StreamBroken

_HEAD: Final = (
    b"GET / HTTP/1.1\r\nHost: -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
# Messages that wait for their receiver, besides the one that is being assembled.
_QUEUE: Final = 1
# How long a client has to answer our Close frame and to close its connection.
CLOSE_TIMEOUT: Final = 5.0
# How long our Close frame has to leave where no answer to it can be heard.
_UNHEARD: Final = 0.5
_EMPTY: Final = b"\x80\0\0\0\0"  # the rest of a masked frame without payload


class ClientClosed(Exception):
    """The client has closed the WebSocket, or has left: nothing can be told to it any more."""


class AcceptedWebSocket:
    """A client's WebSocket. One task receives; any may send."""

    __slots__ = ("_connection", "_listening_since", "_stream")

    def __init__(
        self, stream: _CheckedStream, connection: trio_websocket.WebSocketConnection
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._listening_since: float | None = None

    @property
    def silence(self) -> float:
        """Return for how many seconds nothing has come that could be heard."""
        since = self._listening_since
        if since is None:
            return 0.0
        return trio.current_time() - max(since, self._stream.inner.activity.received_at)

    @property
    def gone(self) -> bool:
        """Say whether the client has left without anybody listening."""
        return self._listening_since is None and self._stream.inner.peer_has_closed()

    def acknowledged(self) -> int | None:
        """Return how many bytes the client has taken while it has to take more; None if it has all,
        or is gone.
        """
        inner = self._stream.inner
        try:
            return inner.acknowledged() if inner.has_unsent else None
        except StreamBroken:
            return None

    async def receive(self) -> bytes:
        """Return the next binary message.

        Raises ClientClosed, and RemoteProtocolError for what no client may send (UnsupportedMessage
        for text, MessageTooBig): it can still be told something then, but not be heard.
        """
        self._listening_since = trio.current_time()
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            raise ClientClosed from None
        finally:
            self._listening_since = None
        if self._stream.fault is not None:
            raise self._stream.fault
        assert isinstance(message, bytes), "text does not get this far"
        return message

    async def send(self, message: bytes) -> None:
        """Send a binary message. Raises ClientClosed."""
        try:
            await self._connection.send_message(message)
        except trio_websocket.ConnectionClosed:
            raise ClientClosed from None

    async def wait_acknowledged(self, patience: float) -> None:
        """Wait until the client has taken what was sent, is gone, or takes nothing for ``patience``
        seconds.
        """
        await self._stream.inner.wait_acknowledged(patience)

    async def ping(self) -> None:
        """Send a ping and wait for its pong. Raises ClientClosed."""
        try:
            await self._connection.ping()
        except trio_websocket.ConnectionClosed:
            raise ClientClosed from None

    async def close(self, code: int) -> None:
        """Send a Close frame and let the client close its side, for at most 5 s."""
        stream = self._stream
        stream.told.set()
        if stream.fault is None:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._connection.aclose(code)
            return
        # Its frames are not followed any more, so its Close frame cannot be awaited, only its end.
        with trio.move_on_after(_UNHEARD):
            await self._connection.aclose(code)
        with trio.move_on_after(CLOSE_TIMEOUT), suppress(StreamBroken):
            await stream.inner.send_eof()
            await stream.ended.wait()


@asynccontextmanager
async def accept_websocket(
    exchange: Exchange, *, max_message: int
) -> AsyncIterator[AcceptedWebSocket]:
    """Send 101; yield the WebSocket, of which nothing is left after the block.

    ``max_message``: bytes of a message, at least 65535. Raises what ``Exchange.upgrade`` does; the
    request has been checked.
    """
    key = exchange.request.headers.get(b"sec-websocket-key") or b""
    inner, early = await exchange.upgrade(
        [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", accept_value(key)),
        ]
    )
    stream = _CheckedStream(inner, early, max_message)
    try:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(
                nursery, stream, message_queue_size=_QUEUE, max_message_size=max_message
            )
            yield AcceptedWebSocket(stream, await request.accept())
            await stream.finish()
            nursery.cancel_scope.cancel()
    finally:
        inner.abort()  # does nothing where it was closed in order


class _CheckedStream(trio.abc.Stream):
    """What trio-websocket takes for the connection: valid frames, and room for its answer.

    A client's Close frame loses its code and reason on the way, which are nobody's concern here.
    Behind ``fault``, and behind a Close frame, nothing is passed on.
    """

    def __init__(self, inner: Stream, early: bytes, max_message: int) -> None:
        self.inner = inner
        self.fault: RemoteProtocolError | None = None
        self._headers = FrameHeaders(masked=True, max_message=max_message)
        self._received = early
        self._given = _HEAD
        self._remaining = 0  # bytes of the current frame's payload
        self._finished = False  # nothing more is passed on
        self._answered = trio.Event()  # trio-websocket's own 101 is over
        self.ended = trio.Event()  # nothing more comes
        self.told = trio.Event()  # the last word was said
        self._closing = False
        self._closed = trio.Event()

    async def finish(self) -> None:
        """Wait until the client's Close frame, if one came, is answered and the connection closed.

        trio-websocket tells its user before it does that. At most 5 s.
        """
        if self._finished and self.fault is None:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._closed.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the head that was made up; then whole headers and their payload."""
        if self._given:
            given, self._given = self._given, b""
            return given
        await self._answered.wait()  # it would not look at frames that come before
        while True:
            given = self._scan() if self._received else b""
            if given:
                return given
            try:
                data = await self.inner.receive_some()
            except StreamBroken as error:
                self.ended.set()
                raise trio.BrokenResourceError from error
            if not data:
                self.ended.set()
                if self.fault is not None:
                    await self.told.wait()  # at an end trio-websocket would send nothing more
                return b""
            if not self._finished:
                self._received += data

    def _scan(self) -> bytes:
        """Return what of ``_received`` may be passed on."""
        data = self._received
        passed: list[bytes] = []
        pos = 0
        try:
            while not self._finished:
                size = min(self._remaining, len(data) - pos)
                passed.append(data[pos : pos + size])
                pos += size
                self._remaining -= size
                header = None if self._remaining else self._headers.read(data, pos)
                if header is None:
                    break
                passed.append(self._begin(header, data[pos : pos + header.size]))
                pos += header.size
        except RemoteProtocolError as error:
            self.fault = error
            self._finished = True
            # What wakes the receiver up: the end of the message that was begun, or an empty one.
            passed.append((b"\x82" if self._headers.message is None else b"\x80") + _EMPTY)
        self._received = b"" if self._finished else data[pos:]
        return b"".join(passed)

    def _begin(self, header: FrameHeader, raw: bytes) -> bytes:
        if header.opcode is Opcode.TEXT:
            self._headers.message = None
            raise UnsupportedMessage
        if header.opcode is Opcode.CLOSE:
            self._finished = True
            return b"\x88" + _EMPTY
        self._remaining = header.length
        return raw

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``; the first is the answer to the head that was made up."""
        if not self._answered.is_set():
            self._answered.set()
            return
        try:
            await self.inner.send_all(bytes(data))
        except StreamBroken as error:
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: trio-websocket does not ask."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close in order, within 5 s: unread bytes would make it a reset.

        trio-websocket has two tasks that do so; the second waits for the first.
        """
        if self._closing:
            await self._closed.wait()
            return
        self._closing = self._finished = True
        try:
            with trio.move_on_after(CLOSE_TIMEOUT), suppress(StreamBroken):
                await self.inner.send_eof()
                while await self.inner.receive_some():
                    pass
                await self.inner.aclose()
        finally:
            self._closed.set()
