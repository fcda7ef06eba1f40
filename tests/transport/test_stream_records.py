"""Tests of what a ``gateway.transport.stream`` says about itself: activity, addresses, options."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.transport.stream import (
    PeerAddress,
    Stream,
    StreamBroken,
)
from gateway.transport.tls_context import ServerContexts
from tests.loopback import (
    reset,
    stream_and_socket,
    tcp_pair,
    tls_stream,
)

# -- what the watchdog goes by ---------------------------------------------------------------------


async def test_receiving_is_recorded(mock_clock: MockClock) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        activity = stream.activity
        assert (activity.received_at, activity.sent_at, activity.progress_at) == (0, 0, 0)
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


async def test_an_end_is_not_a_byte(mock_clock: MockClock) -> None:
    """How long a peer had been silent before its connection was cut must stay known."""
    async with stream_and_socket() as (stream, far):
        await far.send_all(b"12345")
        await stream.receive_some()
        mock_clock.jump(60)
        await far.send_eof()
        assert await stream.receive_some() == b""
        assert stream.activity.received_at == 0
        assert stream.broken is None


async def test_neither_is_close_notify(contexts: ServerContexts, mock_clock: MockClock) -> None:
    """A proxy that ends TLS says goodbye in order when its idle timer strikes."""
    async with tls_stream(contexts) as (stream, peer), trio.open_nursery() as nursery:
        await peer.send_all(b"12345")
        await stream.receive_some()
        mock_clock.jump(60)
        nursery.start_soon(peer.unwrap)
        assert await stream.receive_some() == b""
        assert stream.activity.received_at == 0
        nursery.cancel_scope.cancel()


async def test_last_bytes_before_close_notify_count(
    contexts: ServerContexts, mock_clock: MockClock
) -> None:
    async with tls_stream(contexts) as (stream, peer), trio.open_nursery() as nursery:
        mock_clock.jump(60)
        await peer.send_all(b"12345")
        nursery.start_soon(peer.unwrap)
        await wait_all_tasks_blocked()
        assert await stream.receive_some() == b"12345"
        assert stream.activity.received_at == 60
        assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_a_reset_is_told_from_other_failures() -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        assert not stream.was_reset
        reset(far)
        with pytest.raises(StreamBroken):
            await stream.receive_some()
        assert stream.was_reset
    async with stream_and_socket(tcp=True) as (stream, far):
        stream.abort()
        with pytest.raises(StreamBroken):
            await stream.send_all(b"x")
        assert not stream.was_reset


async def test_a_reset_seen_by_a_send(mock_clock: MockClock) -> None:
    async with stream_and_socket() as (stream, far):
        far.socket.close()
        with pytest.raises(StreamBroken):
            await stream.send_all(b"x")
        assert stream.was_reset


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


async def test_filling_the_kernels_buffer_is_no_progress(mock_clock: MockClock) -> None:
    """A dead peer's takes some as well; only what goes on after a wait proves something."""
    async with stream_and_socket() as (stream, _), trio.open_nursery() as nursery:
        mock_clock.jump(50)
        nursery.start_soon(stream.send_all, bytes(6_000_000))
        await wait_all_tasks_blocked()
        assert stream.activity.sending_since == 50
        assert stream.activity.progress_at == 0
        nursery.cancel_scope.cancel()


async def _take(far: trio.SocketStream, size: int) -> None:
    while size > 0:
        size -= len(await far.receive_some(min(size, 1 << 20)))


async def test_a_broken_send_is_over(mock_clock: MockClock) -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        reset(far)
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
    stream.limit_unsent(1024)
    await stream.send_all(b"x")
    assert await far.recv(10) == b"x"
    await stream.aclose()
    far.close()


async def test_a_peer_that_left_before_we_looked() -> None:
    near, far = tcp_pair()
    reset(trio.SocketStream(far))
    stream = Stream(near)
    assert stream.peer.host in {"unknown", "127.0.0.1"}
    with pytest.raises(StreamBroken):
        await stream.receive_some()
    stream.abort()


async def test_acknowledging_now() -> None:
    near, far = tcp_pair()
    stream = Stream(near)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    stream.acknowledge_now()
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
    stream.abort()
    far.close()


async def test_the_kernel_holds_little_in_front_of_a_ping() -> None:
    near, far = tcp_pair()
    stream = Stream(near)
    stream.limit_unsent(64 * 1024)
    assert near.getsockopt(socket.IPPROTO_TCP, 25) == 64 * 1024  # linux/tcp.h: TCP_NOTSENT_LOWAT
    stream.abort()
    far.close()


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
