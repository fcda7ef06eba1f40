"""Tests of ``gateway.transport.stream`` over real sockets; ``trio.SSLStream`` plays TLS peers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.protocol.tls import TlsEngine
from gateway.transport.stream import (
    CLOSE_TIMEOUT,
    RECEIVE_LARGE,
    RECEIVE_SMALL,
    PeerAddress,
    Stream,
    StreamBroken,
)
from gateway.transport.tls_context import ServerContexts, pinning_client_context
from tests import certificates
from tests.loopback import stream_and_socket, tcp_pair
from tests.peers.tls_peer import TlsPeer
from tests.recordings import body

TlsPeerStream = trio.SSLStream[trio.SocketStream]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> ServerContexts:
    return ServerContexts(certificates.tls_config(tmp_path_factory.mktemp("tls"), "localhost"))


@asynccontextmanager
async def tls_stream(
    contexts: ServerContexts, *, tcp: bool = False, version: ssl.TLSVersion | None = None
) -> AsyncIterator[tuple[Stream, TlsPeerStream]]:
    """Yield a server's ``Stream`` with its TLS handshake done, and the client's end."""
    async with stream_and_socket(tcp=tcp) as (stream, far):
        context = certificates.client_context(version)
        peer = trio.SSLStream(far, context, server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.do_handshake)
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        yield stream, peer


async def receive_all(peer: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while piece := await peer.receive_some(65536):
        data += piece
    return data


# -- receiving -------------------------------------------------------------------------------------


async def test_one_wake_up_brings_everything() -> None:
    async with stream_and_socket() as (stream, far):
        for n in range(100):
            await far.send_all(b"%03d" % n)
        assert await stream.receive_some() == b"".join(b"%03d" % n for n in range(100))


async def test_one_wake_up_brings_every_record(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        for n in range(100):
            await peer.send_all(b"%03d" % n)
        assert await stream.receive_some() == b"".join(b"%03d" % n for n in range(100))


async def test_a_part_of_a_record_is_waited_for(contexts: ServerContexts) -> None:
    async with stream_and_socket() as (stream, far):
        peer = TlsPeer(certificates.client_context(), server_side=False, server_name="localhost")
        await far.send_all(peer.handshake())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.start_tls, TlsEngine(contexts.entry, server_side=True))
            while not peer.handshake_done:
                await far.send_all(peer.handshake(await far.receive_some()))
        record = peer.send(b"whole")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                for byte in record:
                    await far.send_all(bytes((byte,)))

            assert await stream.receive_some() == b"whole"


async def test_a_busy_stream_is_read_in_large_pieces() -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        data = body(1_000_000)
        nursery.start_soon(far.send_all, data)
        await wait_all_tasks_blocked()
        first = await stream.receive_some()
        second = await stream.receive_some()
        assert len(first) == RECEIVE_SMALL
        assert RECEIVE_SMALL < len(second) <= RECEIVE_LARGE
        rest = b""
        while len(first + second + rest) < len(data):
            rest += await stream.receive_some()
        assert first + second + rest == data
        # The burst is over: one small piece, and the next buffer is small again.
        await far.send_all(b"x")
        assert await stream.receive_some() == b"x"
        nursery.start_soon(far.send_all, body(100_000))
        await wait_all_tasks_blocked()
        assert len(await stream.receive_some()) == RECEIVE_SMALL
        stream.abort()
        nursery.cancel_scope.cancel()


async def test_a_bare_eof_is_an_end() -> None:
    async with stream_and_socket() as (stream, far):
        await far.send_all(b"last")
        await far.send_eof()
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""
        assert await stream.receive_some() == b""
        await stream.send_all(b"answer")
        assert await far.receive_some() == b"answer"


async def test_a_bare_eof_inside_tls_is_an_end(contexts: ServerContexts) -> None:
    """No Java peer ever sends close_notify (vectors/README)."""
    async with tls_stream(contexts) as (stream, peer):
        await peer.send_all(b"last")
        await peer.transport_stream.send_eof()
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""
        assert await stream.receive_some() == b""


async def test_a_close_notify_is_an_end(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await peer.send_all(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.aclose)
            assert await stream.receive_some() == b"last"
            assert await stream.receive_some() == b""
            assert await stream.receive_some() == b""


async def test_a_reset_is_no_end() -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        _reset(far)
        with pytest.raises(StreamBroken, match="connection reset by peer"):
            await stream.receive_some()
        with pytest.raises(StreamBroken, match="connection reset by peer"):
            await stream.send_all(b"x")
        assert stream.broken == "connection reset by peer"


async def test_garbage_inside_tls_breaks(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await peer.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(StreamBroken, match=r"^TLS: "):
            await stream.receive_some()


def _reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    stream.socket.close()


# -- sending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 65_536, 3_000_001])
async def test_plain_data_arrives(size: int) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        nursery.start_soon(_send_and_end, stream, body(size))
        assert await receive_all(far) == body(size)


@pytest.mark.parametrize("size", [1, 65_536, 3_000_001])
async def test_encrypted_data_arrives(contexts: ServerContexts, size: int) -> None:
    async with tls_stream(contexts) as (stream, peer), trio.open_nursery() as nursery:
        nursery.start_soon(_send_and_end, stream, body(size))
        assert await receive_all(peer) == body(size)


async def _send_and_end(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    assert stream.activity.bytes_sent == len(data)
    await stream.send_eof()


async def test_sending_nothing_is_nothing() -> None:
    async with stream_and_socket() as (stream, far):
        await stream.send_all(b"")
        await stream.send_eof()
        assert await receive_all(far) == b""


@pytest.mark.parametrize("encrypted", [False, True])
async def test_sends_leave_whole_and_in_turn(contexts: ServerContexts, encrypted: bool) -> None:
    """Senders queue up behind a blocked one; nobody's bytes end up inside another's."""
    blocks = [bytes((n,)) * (6_000_000 if n == 0 else 70_000 + n) for n in range(20)]
    async with (
        tls_stream(contexts) if encrypted else stream_and_socket() as (stream, peer),
        trio.open_nursery() as nursery,
    ):
        for block in blocks:
            nursery.start_soon(stream.send_all, block)
            await wait_all_tasks_blocked()
        assert stream.sending
        received = b""
        while len(received) < sum(map(len, blocks)):
            received += await peer.receive_some(1 << 20)
        assert received == b"".join(blocks)
        await wait_all_tasks_blocked()
        assert not stream.sending


async def test_a_reset_breaks_a_send() -> None:
    async with stream_and_socket(tcp=True) as (stream, far), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(StreamBroken, match="connection reset by peer"):
                await stream.send_all(bytes(5_000_000))

        await wait_all_tasks_blocked()
        _reset(far)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_cancelled_send_tears_nothing(contexts: ServerContexts, encrypted: bool) -> None:
    """Its rest goes out in front of the next send, so that a Close frame can still follow."""
    async with tls_stream(contexts) if encrypted else stream_and_socket() as (stream, peer):
        data = body(5_000_000)
        with trio.move_on_after(0.1) as scope:
            await stream.send_all(data)
        assert scope.cancelled_caught
        assert not stream.sending
        assert stream.activity.sending_since is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_more_and_end, stream)
            assert await receive_all(peer) == data + b"Close"


async def _send_more_and_end(stream: Stream) -> None:
    await stream.send_all(b"Close")
    await stream.send_eof()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_the_rest_of_a_cancelled_send_goes_out_before_the_end(
    contexts: ServerContexts, encrypted: bool
) -> None:
    async with tls_stream(contexts) if encrypted else stream_and_socket() as (stream, peer):
        data = body(5_000_000)
        with trio.move_on_after(0.1):
            await stream.send_all(data)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_eof)
            assert await receive_all(peer) == data


async def test_a_send_cancelled_in_the_queue_leaves_nothing_behind() -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        data = body(5_000_000)
        nursery.start_soon(_send_and_end, stream, data)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.05) as scope:
            await stream.send_all(b"never")
        assert scope.cancelled_caught
        assert await receive_all(far) == data


# -- endings ---------------------------------------------------------------------------------------


async def test_send_eof_closes_one_direction() -> None:
    async with stream_and_socket() as (stream, far):
        await stream.send_all(b"last")
        await stream.send_eof()
        assert await receive_all(far) == b"last"
        await far.send_all(b"still here")
        assert await stream.receive_some() == b"still here"
        with pytest.raises(StreamBroken):
            await stream.send_all(b"too late")


async def test_send_eof_closes_one_direction_of_tls(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await stream.send_all(b"last")
        await stream.send_eof()
        # trio raises BrokenResourceError for a FIN that no close_notify announced.
        assert await receive_all(peer) == b"last"
        await peer.send_all(b"still here")
        assert await stream.receive_some() == b"still here"
        with pytest.raises(StreamBroken):
            await stream.send_all(b"too late")


async def test_close_notify_can_be_left_out(contexts: ServerContexts) -> None:
    """In TLS 1.2, where the type of a record shows: 21 is an alert."""
    for wanted in (True, False):
        async with tls_stream(contexts, version=ssl.TLSVersion.TLSv1_2) as (stream, peer):
            stream.close_notify = wanted
            await stream.send_all(b"last")
            await stream.send_eof()
            assert (21 in _record_types(await receive_all(peer.transport_stream))) == wanted


def _record_types(wire: bytes) -> list[int]:
    types = []
    while wire:
        types.append(wire[0])
        wire = wire[5 + int.from_bytes(wire[3:5], "big") :]
    return types


async def test_aclose_is_an_orderly_end(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await stream.send_all(b"last")
        await stream.aclose()
        assert await receive_all(peer) == b"last"
        assert stream.broken == "closed"
        await stream.aclose()


async def test_aclose_never_raises() -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        _reset(far)
        await stream.aclose()
    async with stream_and_socket(tcp=True) as (stream, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        assert stream.broken == "closed"


async def test_aclose_cuts_off_who_takes_nothing(
    contexts: ServerContexts, autojump_clock: MockClock
) -> None:
    """A farewell that waits behind data that is not taken."""
    autojump_clock.autojump_threshold = 0.02  # real sockets are in play
    async with tls_stream(contexts) as (stream, _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(StreamBroken):
                await stream.send_all(bytes(5_000_000))

        await wait_all_tasks_blocked()
        started = trio.current_time()
        await stream.aclose()
        assert trio.current_time() - started == pytest.approx(CLOSE_TIMEOUT)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_abort_is_a_reset(contexts: ServerContexts, encrypted: bool) -> None:
    pair = tls_stream(contexts, tcp=True) if encrypted else stream_and_socket(tcp=True)
    async with pair as (stream, peer):
        await stream.send_all(b"part")
        stream.abort()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await receive_all(peer)
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_nothing_works_after_abort() -> None:
    async with stream_and_socket(tcp=True) as (stream, _):
        stream.abort()
        stream.abort()
        with pytest.raises(StreamBroken, match="aborted"):
            await stream.send_all(b"x")
        with pytest.raises(StreamBroken, match="aborted"):
            await stream.send_eof()
        with pytest.raises(StreamBroken, match="aborted"):
            await stream.receive_some()
        await stream.aclose()
        assert stream.broken == "aborted"


async def test_abort_wakes_who_waits() -> None:
    async with stream_and_socket(tcp=True) as (stream, _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(StreamBroken):
                await stream.receive_some()

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(StreamBroken):
                await stream.send_all(bytes(5_000_000))

        await wait_all_tasks_blocked()
        stream.abort()


# -- TLS handshakes --------------------------------------------------------------------------------


async def test_tls_info(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        assert stream.tls is not None
        assert stream.tls.version == "TLSv1.3"
        assert stream.tls.cipher == peer.cipher()[0]
        assert stream.tls.server_name == "localhost"


async def test_data_with_the_last_handshake_message(contexts: ServerContexts) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        nursery.start_soon(stream.start_tls, TlsEngine(contexts.entry, server_side=True))
        peer = TlsPeer(certificates.client_context(), server_side=False, server_name="localhost")
        await far.send_all(peer.handshake())
        flight = b""
        while not peer.handshake_done:
            flight = peer.handshake(await far.receive_some())
        await far.send_all(flight + peer.send(b"first") + peer.send(b" bytes") + peer.send_close())
        await wait_all_tasks_blocked()
        assert await stream.receive_some() == b"first bytes"
        assert stream.activity.bytes_received == 11
        assert await stream.receive_some() == b""


async def test_both_roles() -> None:
    near, far = tcp_pair()
    server_context = certificates.server_context()
    client = Stream(far)
    server = trio.SSLStream(trio.SocketStream(near), server_context, server_side=True)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.do_handshake)
            await client.start_tls(TlsEngine(pinning_client_context(), server_side=False))
        await client.send_all(b"question")
        assert await server.receive_some() == b"question"
        await server.send_all(b"answer")
        assert await client.receive_some() == b"answer"
    finally:
        client.abort()
        near.close()


async def test_a_handshake_with_garbage_sends_the_alert(contexts: ServerContexts) -> None:
    async with stream_and_socket() as (stream, far):
        await far.send_all(b"GET / HTTP/1.1\r\nSecret-Key: hunter2\r\n\r\n")
        with pytest.raises(StreamBroken, match=r"^TLS: ") as caught:
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        assert "hunter2" not in str(caught.value)
        assert stream.tls is None
        with pytest.raises(StreamBroken):
            await stream.send_all(b"x")
        stream.abort()


async def test_a_refused_peer_is_told_why(contexts: ServerContexts) -> None:
    context = certificates.client_context(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def connect() -> None:
            peer = trio.SSLStream(far, context, server_hostname="localhost")
            with pytest.raises(trio.BrokenResourceError) as caught:
                await peer.do_handshake()
            assert "handshake failure" in str(caught.value.__cause__)

        with pytest.raises(StreamBroken, match="no shared cipher"):
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        await stream.aclose()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_eof_during_the_handshake(contexts: ServerContexts, sent: bytes) -> None:
    async with stream_and_socket() as (stream, far):
        await far.send_all(sent)
        await far.send_eof()
        with pytest.raises(StreamBroken, match="closed during the TLS handshake"):
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))


async def test_reset_during_the_handshake(contexts: ServerContexts) -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        _reset(far)
        with pytest.raises(StreamBroken, match="connection reset by peer"):
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))


# -- what the watchdog goes by ---------------------------------------------------------------------


async def test_receiving_is_recorded(mock_clock: MockClock) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        activity = stream.activity
        assert activity.reading_since is None
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        assert activity.reading_since == 0
        mock_clock.jump(7)
        await far.send_all(b"12345")
        await wait_all_tasks_blocked()
        assert activity.reading_since is None
        assert activity.received_at == 7
        assert activity.bytes_received == 5


async def test_plaintext_is_counted(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await peer.send_all(b"12345")
        await stream.receive_some()
        await stream.send_all(b"123")
        assert (stream.activity.bytes_received, stream.activity.bytes_sent) == (5, 3)


async def test_a_cancelled_reader_does_not_read(mock_clock: MockClock) -> None:
    """Else a peer would be blamed for silence while nobody listens."""
    async with stream_and_socket() as (stream, _), trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        assert stream.activity.reading_since is not None
        nursery.cancel_scope.cancel()
    assert stream.activity.reading_since is None


async def test_a_quick_send_proves_nothing(mock_clock: MockClock) -> None:
    """The kernel takes it whether the peer lives or not."""
    async with stream_and_socket() as (stream, _):
        activity = stream.activity
        mock_clock.jump(7)
        await stream.send_all(b"12345")
        assert activity.sent_at == 7
        assert activity.progress_at == 0
        assert activity.sending_since is None
        assert activity.bytes_sent == 5


async def test_a_send_that_waits_is_recorded(mock_clock: MockClock) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        activity = stream.activity
        nursery.start_soon(stream.send_all, bytes(6_000_000))
        await wait_all_tasks_blocked()
        assert activity.sending_since == 0
        mock_clock.jump(100)
        await wait_all_tasks_blocked()
        assert activity.progress_at == 0
        await _take(far, 2_000_000)
        await wait_all_tasks_blocked()
        assert activity.progress_at == 100
        assert activity.sending_since == 0
        mock_clock.jump(100)
        await _take(far, 4_000_000)
        await wait_all_tasks_blocked()
        assert activity.progress_at == activity.sent_at == 200
        assert activity.sending_since is None
        assert activity.bytes_sent == 6_000_000


async def _take(far: trio.SocketStream, size: int) -> None:
    while size > 0:
        size -= len(await far.receive_some(min(size, 1 << 20)))


async def test_a_broken_send_is_over(mock_clock: MockClock) -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        _reset(far)
        with pytest.raises(StreamBroken):
            await stream.send_all(b"x")
        assert stream.activity.sending_since is None


# -- addresses and options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (PeerAddress("192.0.2.1", 80), "192.0.2.1:80"),
        (PeerAddress("2001:db8::1", 80), "[2001:db8::1]:80"),
        (PeerAddress("unix", 0), "unix"),
    ],
)
def test_addresses_as_text(peer: PeerAddress, text: str) -> None:
    assert str(peer) == text


async def test_peer_address() -> None:
    near, far = tcp_pair()
    port = far.getsockname()[1]
    stream = Stream(near)
    assert stream.peer == PeerAddress("127.0.0.1", port)
    assert repr(stream) == f"<Stream 127.0.0.1:{port} open>"
    stream.abort()
    assert repr(stream) == f"<Stream 127.0.0.1:{port} aborted>"
    far.close()


async def test_peer_address_on_a_dual_stack_socket() -> None:
    """The kernel writes ::ffff:127.0.0.1, people and networks do not."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        far = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
        near, _ = server.accept()
    near.setblocking(False)
    stream = Stream(trio.socket.from_stdlib_socket(near))
    assert stream.peer.host == "127.0.0.1"
    stream.abort()
    far.close()


async def test_a_unix_socket() -> None:
    near, far = trio.socket.socketpair()
    stream = Stream(near)
    assert stream.peer == PeerAddress("unix", 0)
    stream.keep_alive(user_timeout=60)
    stream.acknowledge_now()
    await stream.send_all(b"x")
    assert await far.recv(10) == b"x"
    await stream.aclose()
    far.close()


async def test_a_peer_that_left_before_we_looked() -> None:
    near, far = tcp_pair()
    _reset(trio.SocketStream(far))
    stream = Stream(near)
    assert stream.peer.host in {"unknown", "127.0.0.1"}
    with pytest.raises(StreamBroken):
        await stream.receive_some()
    stream.abort()


async def test_socket_options() -> None:
    near, far = tcp_pair()
    stream = Stream(near)
    tcp = socket.IPPROTO_TCP
    assert near.getsockopt(tcp, socket.TCP_NODELAY)
    assert not near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    stream.keep_alive(user_timeout=60.0)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [near.getsockopt(tcp, option) for option in options] == [30, 10, 3]
    assert near.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 60_000
    stream.abort()
    stream.acknowledge_now()  # a closed one has nothing to acknowledge
    far.close()


# -- what a PROXY header needs ---------------------------------------------------------------------


async def test_what_is_put_back_is_received_first() -> None:
    async with stream_and_socket() as (stream, far):
        await far.send_all(b"header, body")
        data = await stream.receive_some()
        stream.put_back(data[8:])
        assert stream.has_input()
        assert await stream.receive_some() == b"body"
        await far.send_all(b"more")
        assert await stream.receive_some() == b"more"


async def test_tls_begins_with_what_is_put_back(contexts: ServerContexts) -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        peer = trio.SSLStream(far, certificates.client_context(), server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.do_handshake)
            stream.put_back(await stream.receive_some())
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        await peer.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


async def test_the_address_that_the_peer_connected_to() -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        assert isinstance(far, trio.SocketStream)
        host, port = far.socket.getpeername()
        assert (stream.local_address().host, stream.local_address().port) == (host, port)


# -- sending without waiting -----------------------------------------------------------------------


async def test_small_data_needs_no_waiting() -> None:
    async with stream_and_socket() as (stream, peer):
        assert stream.send_nowait(b"hello")
        assert stream.send_nowait(b"")
        assert await peer.receive_some() == b"hello"
        assert stream.activity.bytes_sent == 5


async def test_what_the_kernel_does_not_take_is_flushed_in_order() -> None:
    data = bytes(range(256)) * (1 << 16)  # 16 MiB
    async with stream_and_socket() as (stream, peer):
        assert not stream.send_nowait(data)
        assert not stream.send_nowait(b"end")
        received = bytearray()

        async def receive() -> None:
            while len(received) < len(data) + 3:
                received.extend(await peer.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await stream.flush()
        assert received == data + b"end"


async def test_a_broken_stream_takes_nothing() -> None:
    async with stream_and_socket() as (stream, _):
        stream.abort()
        with pytest.raises(StreamBroken, match="aborted"):
            stream.send_nowait(b"x")
        with pytest.raises(StreamBroken, match="aborted"):
            await stream.flush()


async def test_input_is_seen_without_waiting() -> None:
    async with stream_and_socket() as (stream, peer):
        assert not stream.has_input()
        await peer.send_all(b"x")
        with trio.fail_after(10):
            while not stream.has_input():  # noqa: ASYNC110 - the kernel delivers it soon
                await trio.sleep(0.001)
        assert await stream.receive_some() == b"x"
        assert not stream.has_input()
        await peer.aclose()
        with trio.fail_after(10):
            while not stream.has_input():  # noqa: ASYNC110 - the kernel delivers it soon
                await trio.sleep(0.001)


async def test_encrypted_data_is_sent_and_flushed_in_order(contexts: ServerContexts) -> None:
    data = bytes(range(256)) * (1 << 15)  # 8 MiB
    async with tls_stream(contexts) as (stream, peer):
        assert stream.send_nowait(b"begin")
        assert not stream.send_nowait(data)

        async def send_the_rest() -> None:
            await stream.flush()
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_the_rest)
            assert await receive_all(peer) == b"begin" + data
