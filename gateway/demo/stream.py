"""One connection of a stand-in: exact reads, and the ways in which real peers end one.

Owns: a ``trio.SocketStream``, with a ``trio.SSLStream`` on top after ``start_tls``. Java peers
never send close_notify (vectors/README): ``drop`` ends with a bare EOF, ``kill`` with a reset.

Must not know: ``gateway.transport``, what the bytes mean.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Final

import trio

PIECE: Final = 65536  # bytes asked for at once
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class End(Enum):
    """How a connection ended, as the stand-in saw it."""

    BARE_EOF = "bare EOF"
    CLOSE_NOTIFY = "TLS close_notify"
    CLOSE_FRAME = "WebSocket Close"
    RESET = "reset"
    TLS_FAILURE = "TLS failure"
    VIOLATION = "protocol violation"
    HERE = "closed here"


class ConnectionEnded(Exception):
    """The connection is over; ``end`` says how."""

    def __init__(self, end: End, detail: str = "") -> None:
        super().__init__(f"{end.value}: {detail}" if detail else end.value)
        self.end = end


class Wire:
    """A connection that is read in exact amounts and written by one task at a time.

    Reads never take more from a socket than was asked for, so that TLS can start at any byte; above
    TLS whole records are taken, and ``pending`` is what arrived beyond the last read.
    """

    __slots__ = ("_buffer", "_lock", "_socket", "_stream", "peer_host", "peer_port", "received")

    def __init__(self, sock: trio.SocketStream) -> None:
        self._socket = sock
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = sock
        self._buffer = bytearray()
        self._lock = trio.Lock()
        self.received = 0  # bytes, above TLS since it started
        self.peer_host, self.peer_port = _peer_of(sock)

    @property
    def pending(self) -> int:
        """Return how many received bytes nobody has read yet."""
        return len(self._buffer)

    @property
    def tls_version(self) -> str | None:
        """Return ``TLSv1.2`` or ``TLSv1.3``, or None while the connection is in clear."""
        if not isinstance(self._stream, trio.SSLStream):
            return None
        version: str | None = self._stream.version()
        return version

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_name: str | None = None,
        server_side: bool = False,
    ) -> None:
        """Put TLS on top and finish its handshake; everything read in clear must have been used.

        Raises ConnectionEnded.
        """
        stream = trio.SSLStream(
            self._socket, context, server_hostname=server_name, server_side=server_side
        )
        self._stream = stream
        self.received = 0
        with _endings():
            await stream.do_handshake()

    async def read_exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes; raises ConnectionEnded when the stream ends first."""
        in_clear = self._stream is self._socket
        while len(self._buffer) < size:
            wanted = size - len(self._buffer) if in_clear else PIECE
            self._buffer += await self._receive(wanted)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def read_some(self) -> bytes:
        """Return whatever is there, at least one byte; raises ConnectionEnded at the end."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await self._receive(PIECE)

    async def read_u16(self) -> bytes:
        """Return the body of the next string with a 16-bit length (PROTOCOLS 0.1, 0.2)."""
        return await self.read_exactly(int.from_bytes(await self.read_exactly(2)))

    async def _receive(self, size: int) -> bytes:
        with _endings():
            data = await self._stream.receive_some(size)
        if not data:
            raise ConnectionEnded(
                End.BARE_EOF if self._stream is self._socket else End.CLOSE_NOTIFY
            )
        self.received += len(data)
        return bytes(data)

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; tasks take turns. Raises ConnectionEnded."""
        async with self._lock:
            with _endings():
                await self._stream.send_all(data)

    async def drop(self, *, linger: float = 2.0) -> None:
        """End the way Java ends: FIN without close_notify, after what was sent.

        Waits up to ``linger`` seconds for the peer's own end, so that bytes of its that are still
        under way do not turn the FIN into a reset.
        """
        self.send_fin()
        try:
            with (
                trio.move_on_after(linger),
                suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                while await self._socket.receive_some(PIECE):
                    pass
        finally:
            self.abandon()

    def send_fin(self) -> None:
        """End our direction with a FIN and no close_notify; the other one stays open."""
        with suppress(OSError):
            self._socket.socket.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """Close at once, without waiting: a FIN, or a reset if bytes are unread."""
        self._socket.socket.close()

    def kill(self) -> None:
        """Close at once with a reset: what was sent may be lost."""
        with suppress(OSError):
            self._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.abandon()


def _peer_of(sock: trio.SocketStream) -> tuple[str, int]:
    try:
        host, port = sock.socket.getpeername()[:2]
    except OSError:  # a port probe that has left again
        return "unknown", 0
    return host, port


@contextmanager
def _endings() -> Generator[None]:
    """Translate what trio and ssl raise into ConnectionEnded."""
    try:
        yield
    except trio.ClosedResourceError as exc:
        raise ConnectionEnded(End.HERE) from exc
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        if _is_bare_eof(cause):
            raise ConnectionEnded(End.BARE_EOF) from exc
        if isinstance(cause, (ssl.SSLError, ssl.CertificateError)):
            raise ConnectionEnded(End.TLS_FAILURE, str(cause)) from exc
        raise ConnectionEnded(End.RESET, str(cause or exc)) from exc


def _is_bare_eof(cause: BaseException | None) -> bool:
    if isinstance(cause, ssl.SSLEOFError):
        return True
    text = cause.strerror if isinstance(cause, ssl.SSLError) else None
    return text is not None and "UNEXPECTED_EOF_WHILE_READING" in text
