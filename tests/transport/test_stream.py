"""Tests of ``gateway.transport.stream`` over real sockets: receiving, sending, ending.

``trio.SSLStream`` plays TLS peers. Handshakes are in ``test_stream_tls``, what a stream records
about itself in ``test_stream_records``.
"""

from __future__ import annotations

import math
import ssl

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.transport.stream import (
    CLOSE_TIMEOUT,
    RECEIVE_LARGE,
    RECEIVE_SMALL,
    Stream,
    StreamBroken,
)
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ServerContexts
from tests import certificates
from tests.loopback import (
    receive_all,
    reset,
    stream_and_socket,
    tls_stream,
)
from tests.peers.tls_peer import TlsPeer
from tests.recordings import body

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
        assert repr(stream) == "<Stream unix eof>"
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
        reset(far)
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
        assert stream.activity.sending_since is not None
        received = b""
        while len(received) < sum(map(len, blocks)):
            received += await peer.receive_some(1 << 20)
        assert received == b"".join(blocks)
        await wait_all_tasks_blocked()
        assert stream.activity.sending_since is None


async def test_a_reset_breaks_a_send() -> None:
    async with stream_and_socket(tcp=True) as (stream, far), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(StreamBroken, match="connection reset by peer"):
                await stream.send_all(bytes(5_000_000))

        await wait_all_tasks_blocked()
        reset(far)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_cancelled_send_tears_nothing(contexts: ServerContexts, encrypted: bool) -> None:
    """Its rest goes out in front of the next send, so that a Close frame can still follow."""
    async with tls_stream(contexts) if encrypted else stream_and_socket() as (stream, peer):
        data = body(5_000_000)
        with trio.move_on_after(0.1) as scope:
            await stream.send_all(data)
        assert scope.cancelled_caught
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
        reset(far)
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


async def test_close_nowait_is_an_orderly_end(contexts: ServerContexts) -> None:
    async with tls_stream(contexts) as (stream, peer):
        await stream.send_all(b"last")
        stream.close_nowait()
        assert await receive_all(peer) == b"last"  # up to its close_notify, or this would raise
        assert stream.broken == "closed"
        stream.close_nowait()


async def test_what_a_peer_takes_is_seen() -> None:
    async with stream_and_socket(tcp=True) as (stream, peer):
        stream.send_nowait(b"hello")
        with trio.fail_after(10):
            while stream.acknowledged() < 5:  # noqa: ASYNC110 - the kernel is soon done
                await trio.sleep(0.001)
        while stream.send_nowait(bytes(100_000)):
            pass
        await trio.sleep(0.05)  # until both kernels' buffers are full
        before = stream.acknowledged()
        assert before < stream.activity.bytes_written < stream.activity.bytes_sent
        await trio.sleep(0.05)
        assert stream.acknowledged() == before
        with trio.fail_after(10):
            while stream.acknowledged() == before:
                await peer.receive_some(1_000_000)


async def test_what_the_kernel_holds_is_waited_for() -> None:
    async with stream_and_socket(tcp=True) as (stream, peer):
        while stream.send_nowait(bytes(100_000)):
            pass
        with trio.fail_after(10):  # nothing is taken for so long
            await stream.wait_acknowledged(0.2)
        assert stream.acknowledged() < stream.activity.bytes_written
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.wait_acknowledged, 5.0)
            with trio.move_on_after(0.5):
                while True:
                    await peer.receive_some(1_000_000)
        assert stream.acknowledged() >= stream.activity.bytes_written
        stream.abort()
        await stream.wait_acknowledged(math.inf)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_close_nowait_cuts_off_who_has_not_got_everything(
    contexts: ServerContexts, encrypted: bool
) -> None:
    pair = tls_stream(contexts, tcp=True) if encrypted else stream_and_socket(tcp=True)
    async with pair as (stream, peer):
        while stream.send_nowait(bytes(100_000)):
            pass
        assert stream.has_unsent
        stream.close_nowait()
        assert stream.broken == "aborted"
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(peer)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_abort_is_areset(contexts: ServerContexts, encrypted: bool) -> None:
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


async def test_an_interrupt_after_an_abort_is_nothing() -> None:
    async with stream_and_socket() as (stream, _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(StreamBroken, match="aborted"):
                await stream.receive_some()

        await wait_all_tasks_blocked()
        stream.abort()
        stream.interrupt()


# -- what a PROXY header needs ---------------------------------------------------------------------


async def test_what_was_peeked_at_is_received() -> None:
    async with stream_and_socket() as (stream, far):
        await far.send_all(b"header, body")
        assert await stream.peek() == b"header, body"
        assert await stream.peek() == b"header, body"
        stream.skip(8)
        assert stream.has_input()
        assert await stream.receive_some() == b"body"
        await far.send_all(b"more")
        assert await stream.receive_some() == b"more"
        await far.send_eof()
        assert await stream.peek() == b""


async def test_tls_begins_behind_what_was_skipped(contexts: ServerContexts) -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        peer = trio.SSLStream(far, certificates.client_context(), server_hostname="localhost")
        await far.send_all(b"header")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.do_handshake)
            await wait_all_tasks_blocked()
            assert (await stream.peek()).startswith(b"header\x16")
            stream.skip(6)
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        await peer.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


async def test_a_broken_connection_is_not_peeked_at() -> None:
    async with stream_and_socket(tcp=True) as (stream, far):
        reset(far)
        with pytest.raises(StreamBroken, match="reset"):
            await stream.peek()
        stream.abort()
        with pytest.raises(StreamBroken):
            stream.skip(1)


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
        with pytest.raises(StreamBroken, match="aborted"):
            stream.acknowledged()


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


async def test_an_end_is_seen_behind_what_nobody_received() -> None:
    async with stream_and_socket() as (stream, peer):
        await peer.send_all(b"x")
        with trio.fail_after(10):
            while not stream.has_input():  # noqa: ASYNC110 - the kernel delivers it soon
                await trio.sleep(0.001)
        assert not stream.peer_has_closed()
        await peer.aclose()
        with trio.fail_after(10):
            while not stream.peer_has_closed():  # noqa: ASYNC110 - the kernel delivers it soon
                await trio.sleep(0.001)
        assert await stream.receive_some() == b"x"
        assert await stream.receive_some() == b""
        assert stream.peer_has_closed()


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
