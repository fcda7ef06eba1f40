"""The stand-ins' connection: exact reads, TLS at any byte, and how ends are told apart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trustme
from trio.testing import MockClock

from gateway.demo.stream import ConnectionEnded, End, Wire

Connect = Callable[[], Awaitable[tuple[Wire, trio.SocketStream]]]


@pytest.fixture
async def connect(nursery: trio.Nursery) -> Connect:
    """Make a Wire and the raw far end of its connection."""
    arriving, arrived = trio.open_memory_channel[trio.SocketStream](1)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def accept(stream: trio.SocketStream) -> None:
        await arriving.send(stream)
        try:
            await trio.sleep_forever()
        finally:
            stream.socket.close()

    await nursery.start(trio.serve_listeners, accept, listeners)
    port = listeners[0].socket.getsockname()[1]

    async def connector() -> tuple[Wire, trio.SocketStream]:
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", port))
        return wire, await arrived.receive()

    return connector


async def ended(wire: Wire) -> End:
    """Read on; return how the connection ended."""
    try:
        while True:
            await wire.read_some()
    except ConnectionEnded as exc:
        return exc.end
    finally:
        wire.abandon()


async def test_exact_reads_take_nothing_more(connect: Connect) -> None:
    wire, far = await connect()
    await far.send_all(b"abcdef")
    assert await wire.read_exactly(4) == b"abcd"
    assert wire.pending == 0  # in clear the rest stays in the socket, for TLS perhaps
    assert await wire.read_some() == b"ef"
    assert wire.received == 6
    wire.abandon()


async def test_strings_with_a_length(connect: Connect) -> None:
    wire, far = await connect()
    for byte in b"\x00\x03ACK\x00\x00":
        await far.send_all(bytes((byte,)))
    assert await wire.read_u16() == b"ACK"
    assert await wire.read_u16() == b""
    wire.abandon()


async def test_peer(connect: Connect) -> None:
    wire, far = await connect()
    assert (wire.peer_host, wire.peer_port) == far.socket.getsockname()
    wire.abandon()


async def test_end_in_the_middle_of_an_exact_read(connect: Connect) -> None:
    wire, far = await connect()
    await far.send_all(b"ab")
    await far.send_eof()
    with pytest.raises(ConnectionEnded, match="bare EOF"):
        await wire.read_exactly(3)
    wire.abandon()


async def test_reset(connect: Connect) -> None:
    wire, far = await connect()
    far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.socket.close()
    assert await ended(wire) is End.RESET
    with pytest.raises(ConnectionEnded):
        await wire.send(b"x")


async def test_drop_is_a_fin_and_waits_for_the_other_one(connect: Connect) -> None:
    wire, far = await connect()
    await wire.send(b"last words")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.drop)
        assert await far.receive_some() == b"last words"
        assert await far.receive_some() == b""
        await far.send_all(b"still under way")  # a close at once would be a reset now
        await far.send_eof()
        assert await far.receive_some() == b""
    assert await ended(wire) is End.HERE


async def test_drop_does_not_wait_for_ever(connect: Connect, jumping_clock: MockClock) -> None:
    wire, far = await connect()
    before = trio.current_time()
    await wire.drop(linger=7)
    assert trio.current_time() - before == 7
    assert await far.receive_some() == b""


async def test_kill_is_a_reset(connect: Connect) -> None:
    wire, far = await connect()
    wire.kill()
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()
    assert await ended(wire) is End.HERE


async def test_sends_of_two_tasks_do_not_mix(connect: Connect, nursery: trio.Nursery) -> None:
    wire, far = await connect()
    size = 2_000_000
    for letter in (b"a", b"b"):
        nursery.start_soon(wire.send, letter * size)
    data = b""
    while len(data) < 2 * size:
        data += await far.receive_some()
    assert data in (b"a" * size + b"b" * size, b"b" * size + b"a" * size)
    wire.abandon()


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's and a server's TLS context."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return client, server


async def secured(
    connect: Connect, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[Wire, trio.SSLStream[trio.SocketStream]]:
    """Connect, talk in clear, then start TLS on both ends."""
    client, server = contexts
    wire, far = await connect()
    await far.send_all(b"\x00\x03ACK")
    assert await wire.read_u16() == b"ACK"
    assert wire.tls_version is None
    upper = trio.SSLStream(far, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upper.do_handshake)
        await wire.start_tls(client, server_name="localhost")
    assert wire.tls_version == "TLSv1.3"
    return wire, upper


async def test_tls_after_clear_text(
    connect: Connect, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    wire, far = await secured(connect, contexts)
    assert wire.received == 0
    await far.send_all(b"abcdef")
    assert await wire.read_exactly(2) == b"ab"
    assert wire.pending == 4  # whole records are taken
    assert await wire.read_some() == b"cdef"
    await wire.send(b"reply")
    assert await far.receive_some() == b"reply"
    wire.abandon()


async def test_ends_of_tls(
    connect: Connect, contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery
) -> None:
    wire, far = await secured(connect, contexts)
    nursery.start_soon(trio.aclose_forcefully, far)
    assert await ended(wire) is End.BARE_EOF
    wire, far = await secured(connect, contexts)
    nursery.start_soon(far.aclose)
    assert await ended(wire) is End.CLOSE_NOTIFY


async def test_drop_says_no_close_notify(
    connect: Connect, contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery
) -> None:
    wire, far = await secured(connect, contexts)
    nursery.start_soon(wire.drop)
    with pytest.raises(trio.BrokenResourceError) as caught:
        await far.receive_some()
    assert isinstance(caught.value.__cause__, ssl.SSLEOFError)
    far.transport_stream.socket.close()


async def test_tls_that_fails(
    connect: Connect, contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery
) -> None:
    client, server = contexts
    wire, far = await connect()
    await far.send_all(b"this is not TLS")
    with pytest.raises(ConnectionEnded, match="TLS failure"):
        await wire.start_tls(client, server_name="localhost")
    wire.abandon()
    wire, far = await connect()

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(far, server, server_side=True).do_handshake()

    nursery.start_soon(serve)
    with pytest.raises(ConnectionEnded, match="TLS failure"):
        await wire.start_tls(client, server_name="elsewhere")
    wire.abandon()
