"""``jenkins-cli.jar`` in both of its modes, written from PROTOCOLS E.1 to E.3.

Owns: what the client sends, in which order, and what it makes of what comes back.
"""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11
import trio
import trio_websocket

from tests.peers.cli_controller import (
    ARG,
    ENCODING,
    END_STDIN,
    EXIT,
    LOCALE,
    START,
    STDERR,
    STDIN,
    STDOUT,
)

PIECE = 60_000
Headers = list[tuple[bytes, bytes]]


def basic(user: str, token: str) -> tuple[bytes, bytes]:
    """Return the field that ``-auth user:token`` makes."""
    return b"Authorization", b"Basic " + base64.b64encode(f"{user}:{token}".encode())


def utf(text: bytes) -> bytes:
    """Return encoded text with its length."""
    return struct.pack("!H", len(text)) + text


def opening(*args: bytes) -> list[tuple[int, bytes]]:
    """Return the frames by which a command begins."""
    settings = [(ENCODING, utf(b"UTF-8")), (LOCALE, utf(b"en_US")), (START, b"")]
    return [*((ARG, utf(arg)) for arg in args), *settings]


@dataclass
class Outcome:
    """What a client has seen."""

    stdout: bytes = b""
    stderr: bytes = b""
    stdout_size: int = 0
    code: int | None = None
    closed: int | None = None  # the code of the Close frame
    keep: bool = True

    def take(self, op: int, payload: bytes) -> bool:
        """Take a frame; say whether it is the last."""
        if op == STDOUT:
            self.stdout_size += len(payload)
            if self.keep:
                self.stdout += payload
        elif op == STDERR:
            self.stderr += payload
        elif op == EXIT:
            (self.code,) = struct.unpack("!i", payload)
            return True
        return False


def by_hand(*args: bytes) -> bytes:
    """Return an upgrade and the frames of a command, for a client that answers nothing."""
    frames = (
        bytes((0x82, 0x80 | len(payload) + 1, 0, 0, 0, 0, op)) + payload
        for op, payload in opening(*args)
    )
    return (
        b"GET /cli/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + b"".join(frames)
    )


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    with suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return data


class Refused(Exception):
    """The upgrade, or the download, was not accepted."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = {name.lower().decode(): value.decode("latin-1") for name, value in headers}
        super().__init__(f"{status} {self.headers}")


class WebSocketClient:
    """``-webSocket``: a message for each frame."""

    def __init__(
        self, connection: trio_websocket.WebSocketConnection, stream: trio.SocketStream
    ) -> None:
        self.connection = connection
        self._stream = stream

    async def kill(self) -> None:
        """Lose the connection without a word."""
        await self._stream.aclose()

    async def send(self, op: int, payload: bytes = b"") -> None:
        await self.connection.send_message(bytes((op,)) + payload)

    async def receive(self) -> tuple[int, bytes]:
        message = await self.connection.get_message()
        assert isinstance(message, bytes)
        return message[0], message[1:]

    async def finish(self, outcome: Outcome) -> Outcome:
        """Read to EXIT, and then to the end."""
        while not outcome.take(*await self.receive()):
            pass
        try:
            await self.receive()
        except trio_websocket.ConnectionClosed as error:
            outcome.closed = None if error.reason is None else error.reason.code
            return outcome
        raise AssertionError("a message behind EXIT")


@asynccontextmanager
async def websocket(
    port: int,
    *,
    host: str | None = None,
    origin: str | None = "",
    headers: Headers | None = None,
    path: str = "/cli/ws",
) -> AsyncIterator[WebSocketClient]:
    """Connect. ``origin`` ``""``: the right one; None: none. Raises Refused."""
    authority = host or f"127.0.0.1:{port}"
    fields = list(headers or [])
    if origin is not None:
        fields.append((b"Origin", (origin or f"http://{authority}").encode()))
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        async with stream, trio.open_nursery() as nursery:
            connection = await trio_websocket.wrap_client_stream(
                nursery, stream, authority, path, extra_headers=fields
            )
            yield WebSocketClient(connection, stream)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only(group) from None


async def run_websocket(
    port: int,
    *args: bytes,
    stdin: bytes = b"",
    host: str | None = None,
    headers: Headers | None = None,
    origin: str | None = "",
) -> Outcome:
    """Run one command from its beginning to its end. Raises Refused."""
    async with websocket(port, host=host, headers=headers, origin=origin) as client:
        for op, payload in opening(*args):
            await client.send(op, payload)
        for at in range(0, len(stdin), PIECE):
            await client.send(STDIN, stdin[at : at + PIECE])
        await client.send(END_STDIN)
        return await client.finish(Outcome())
    raise AssertionError("the block above returns")


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that a nursery has wrapped; a refusal as what it is."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio_websocket.ConnectionRejected):
        return Refused(error.status_code, error.headers or ())
    return error


@dataclass
class FullDuplexClient:
    """``-http``: two requests."""

    port: int
    host: str = ""
    headers: Headers = field(default_factory=list)
    upload_headers: Headers | None = None
    session: str = field(default_factory=lambda: str(uuid.uuid4()))
    target: str = "/cli?remoting=false"
    upload_status: int | None = None

    async def download(self) -> None:
        """Ask for the download; read up to its first byte. Raises Refused."""
        self._down = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._down_http = h11.Connection(h11.CLIENT)
        head = self._request(b"download", self.headers, [(b"Content-Length", b"0")])
        data = self._down_http.send(head)
        await self._down.send_all((data or b"") + (self._down_http.send(h11.EndOfMessage()) or b""))
        self._data = b""
        response = await self._next()
        assert isinstance(response, h11.Response)
        if response.status_code != 200:
            raise Refused(response.status_code, list(response.headers))
        assert any(name == b"hudson-duplex" for name, _ in response.headers)
        await self._more()
        assert self._data[:1] == b"\0", "expected to see initial zero byte"
        self._data = self._data[1:]

    async def upload(self) -> None:
        """Open the upload."""
        self._up = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._up_http = h11.Connection(h11.CLIENT)
        fields = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Transfer-Encoding", b"chunked"),
        ]
        own = self.headers if self.upload_headers is None else self.upload_headers
        await self._up.send_all(self._up_http.send(self._request(b"upload", own, fields)) or b"")

    async def send(self, op: int, payload: bytes = b"") -> None:
        await self.send_raw(struct.pack("!iB", len(payload), op) + payload)

    async def send_raw(self, data: bytes) -> None:
        await self._up.send_all(self._up_http.send(h11.Data(data=data)) or b"")

    async def end_upload(self) -> None:
        await self._up.send_all(self._up_http.send(h11.EndOfMessage()) or b"")

    async def upload_answer(self) -> int:
        """Return the status of the upload."""
        while True:
            event = self._up_http.next_event()
            if event is h11.NEED_DATA:
                self._up_http.receive_data(await self._up.receive_some())
            else:
                assert isinstance(event, h11.Response), event
                return event.status_code

    async def receive(self) -> tuple[int, bytes] | None:
        """Return the next frame, None at the end."""
        while len(self._data) < 5:
            if not await self._more():
                return None
        length, op = struct.unpack_from("!iB", self._data)
        while len(self._data) < 5 + length:
            if not await self._more():
                return None
        payload = self._data[5 : 5 + length]
        self._data = self._data[5 + length :]
        return op, payload

    async def finish(self, outcome: Outcome) -> Outcome:
        """Read to EXIT, or to the end where none comes."""
        while (frame := await self.receive()) is not None:
            if outcome.take(*frame):
                break
        return outcome

    async def aclose(self) -> None:
        for stream in (getattr(self, "_down", None), getattr(self, "_up", None)):
            if stream is not None:
                await stream.aclose()

    def _request(self, side: bytes, fields: Headers, more: Headers) -> h11.Request:
        host = self.host or f"127.0.0.1:{self.port}"
        return h11.Request(
            method="POST",
            target=self.target,
            headers=[
                (b"Host", host.encode()),
                (b"Session", self.session.encode()),
                (b"Side", side),
                *fields,
                *more,
            ],
        )

    async def _more(self) -> bool:
        event = await self._next()
        if isinstance(event, h11.Data):
            self._data += event.data
            return True
        return False

    async def _next(self) -> object:
        while True:
            event = self._down_http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._down_http.receive_data(await self._down.receive_some())


async def run_full_duplex(
    port: int,
    *args: bytes,
    stdin: bytes = b"",
    headers: Headers | None = None,
    host: str = "",
) -> Outcome:
    """Run one command from its beginning to its end. Raises Refused."""
    client = FullDuplexClient(port, host=host, headers=headers or [])
    try:
        await client.download()
        await client.upload()
        for op, payload in opening(*args):
            await client.send(op, payload)
        for at in range(0, len(stdin), PIECE):
            await client.send(STDIN, stdin[at : at + PIECE])
        await client.send(END_STDIN)
        return await client.finish(Outcome())
    finally:
        await client.aclose()
