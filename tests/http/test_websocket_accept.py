"""A WebSocket that ends in the gateway, with clients that keep the rules and with others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from gateway.errors import MessageTooBig, RemoteProtocolError, UnsupportedMessage
from gateway.http.exchange import Exchange
from gateway.http.websocket_accept import AcceptedWebSocket, ClientClosed, accept_websocket
from tests.http.serving import start
from tests.peers.cli_client import websocket
from tests.peers.raw_frames import frame

UPGRADE = (
    b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
unmasked = partial(frame, mask=None)
Serve = Callable[[AcceptedWebSocket], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """Have each WebSocket served, with messages of up to 65536 bytes; yield the port."""

    async def handle(exchange: Exchange) -> None:
        async with accept_websocket(exchange, max_message=65536) as client:
            await serve(client)

    async with trio.open_nursery() as nursery:
        yield await start(nursery, handle)
        nursery.cancel_scope.cancel()


async def echo(client: AcceptedWebSocket) -> None:
    try:
        while True:
            await client.send(await client.receive())
    except ClientClosed:
        pass


async def last_word(client: AcceptedWebSocket, faults: list[RemoteProtocolError]) -> None:
    """Wait for a fault, and still have the last word."""
    try:
        while True:
            await client.receive()
    except RemoteProtocolError as error:
        faults.append(error)
        await client.send(b"sorry")
        await client.close(1000)


@asynccontextmanager
async def raw(port: int, early: bytes = b"") -> AsyncIterator[trio.SocketStream]:
    """Upgrade by hand."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(UPGRADE + early)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert head.lower().count(b"upgrade: websocket") == 1, "one answer, ours"
        yield stream


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


async def test_messages_there_and_back() -> None:
    async with serving(echo) as port, websocket(port) as client:
        for size in (1, 125, 126, 60_001, 65_535):
            await client.send(7, b"x" * size)
            assert await client.receive() == (7, b"x" * size)


async def test_what_came_with_the_request() -> None:
    early = frame(2, b"hi")
    async with serving(echo) as port, raw(port, early) as stream:
        assert await stream.receive_some() == unmasked(2, b"hi")


async def test_byte_by_byte_fragmented_with_a_ping_inside() -> None:
    data = frame(2, b"he", final=False) + frame(9, b"p") + frame(0, b"llo")
    async with serving(echo) as port, raw(port) as stream:
        for i in range(len(data)):
            await stream.send_all(data[i : i + 1])
        expected = unmasked(10, b"p") + unmasked(2, b"hello")
        received = b""
        while len(received) < len(expected):
            received += await stream.receive_some()
        assert received == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (frame(1, b"text"), UnsupportedMessage),
        (frame(2, b"x" * 65_537), MessageTooBig),
        (
            frame(2, b"x" * 40_000, final=False) + frame(0, b"x" * 40_000),
            MessageTooBig,
        ),
        (unmasked(2, b"x"), RemoteProtocolError),
        (frame(0, b"x"), RemoteProtocolError),
        (frame(3, b"x"), RemoteProtocolError),
        (b"\xc2" + frame(2, b"x")[1:], RemoteProtocolError),
        (frame(2, b"x", final=False) + frame(2, b"y"), RemoteProtocolError),
    ],
    ids=["text", "long", "long-in-pieces", "bare", "stray", "reserved", "rsv", "nested"],
)
async def test_after_a_fault_the_endpoint_has_the_last_word(
    sent: bytes, expected: type[RemoteProtocolError]
) -> None:
    faults: list[RemoteProtocolError] = []
    async with serving(partial(last_word, faults=faults)) as port, raw(port) as stream:
        await stream.send_all(sent)
        assert await read_all(stream) == unmasked(2, b"sorry") + unmasked(8, b"\x03\xe8")
    assert [type(fault) for fault in faults] == [expected]


async def test_a_fault_and_gone() -> None:
    """The client has closed its side already; what it is told still leaves."""
    faults: list[RemoteProtocolError] = []
    async with serving(partial(last_word, faults=faults)) as port, raw(port) as stream:
        await stream.send_all(frame(1, b"text"))
        await stream.send_eof()
        assert (await read_all(stream)).startswith(unmasked(2, b"sorry"))


@pytest.mark.parametrize(
    "farewell",
    [frame(8, b"\x03\xe8"), frame(8, b""), frame(8, b"\0")],
)
async def test_the_client_closes(farewell: bytes) -> None:
    closed = trio.Event()

    async def serve(client: AcceptedWebSocket) -> None:
        await echo(client)
        closed.set()

    async with serving(serve) as port, raw(port) as stream:
        await stream.send_all(farewell + frame(2, b"more"))
        assert (await read_all(stream))[:1] == b"\x88"
        await closed.wait()


async def test_the_client_is_gone() -> None:
    closed = trio.Event()

    async def serve(client: AcceptedWebSocket) -> None:
        await echo(client)
        with pytest.raises(ClientClosed):
            await client.send(b"x")
        with pytest.raises(ClientClosed):
            await client.ping()
        await client.close(1000)
        closed.set()

    async with serving(serve) as port:
        async with raw(port):
            pass
        await closed.wait()


async def test_closing_in_order_while_messages_still_come() -> None:
    done = trio.Event()

    async def serve(client: AcceptedWebSocket) -> None:
        await client.receive()
        await client.close(1000)
        done.set()

    async with serving(serve) as port:
        async with raw(port) as stream:
            await closing(stream)
        await done.wait()


async def closing(stream: trio.SocketStream) -> None:
    await stream.send_all(frame(2, b"x" * 1000) * 50)
    assert await stream.receive_some() == unmasked(8, b"\x03\xe8")
    await stream.send_all(frame(2, b"y") + frame(8, b"\x03\xe8"))
    assert await read_all(stream) == b""


async def test_a_ping_is_answered() -> None:
    async def serve(client: AcceptedWebSocket) -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo, client)
                await client.ping()
                nursery.cancel_scope.cancel()
        await client.send(b"pong came")

    async with serving(serve) as port, websocket(port) as client:
        assert await client.receive() == (ord("p"), b"ong came")


async def test_silence_counts_while_somebody_listens() -> None:
    heard: list[float] = []

    async def serve(client: AcceptedWebSocket) -> None:
        await trio.sleep(0.2)
        heard.append(client.silence)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, client)
            await trio.sleep(0.2)
            heard.append(client.silence)
            nursery.cancel_scope.cancel()

    async with serving(serve) as port, raw(port) as stream:
        await read_all_or_reset(stream)
    assert heard[0] == 0.0
    assert 0.1 < heard[1] < 10


async def read_all_or_reset(stream: trio.SocketStream) -> None:
    try:
        await read_all(stream)
    except trio.BrokenResourceError:
        return
