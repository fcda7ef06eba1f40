"""Tests of TLS handshakes on a ``gateway.transport.stream``."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.transport.stream import ReceiveInterrupted, Stream, StreamBroken
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ServerContexts, pinning_client_context
from tests import certificates
from tests.loopback import (
    reset,
    stream_and_socket,
    tcp_pair,
    tls_stream,
)
from tests.peers.tls13_records import RecordWriter, traffic_secret
from tests.peers.tls_peer import TlsPeer
from tests.recordings import body


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


async def test_garbage_with_the_last_handshake_message(contexts: ServerContexts) -> None:
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        peer = TlsPeer(certificates.client_context(), server_side=False, server_name="localhost")

        @nursery.start_soon
        async def connect() -> None:
            await far.send_all(peer.handshake())
            flight = b""
            while not peer.handshake_done:
                flight = peer.handshake(await far.receive_some())
            await far.send_all(flight + b"\x17\x03\x03\x00\x20" + bytes(32))

        await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        with pytest.raises(StreamBroken, match=r"^TLS: "):
            await stream.receive_some()
        assert stream.broken is not None


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
        reset(far)
        with pytest.raises(StreamBroken, match="connection reset by peer"):
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))


async def _connected(stream: Stream, far: trio.SocketStream, contexts: ServerContexts) -> TlsPeer:
    """Shake hands; the far end's TLS is by hand, so that many records leave in one send."""
    peer = TlsPeer(certificates.client_context(), server_side=False, server_name="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.start_tls, TlsEngine(contexts.entry, server_side=True))
        await far.send_all(peer.handshake())
        while not peer.handshake_done:
            await far.send_all(peer.handshake(await far.receive_some()))
    return peer


async def test_small_records_are_read_a_few_at_a_time(contexts: ServerContexts) -> None:
    """As many as the kernel holds would keep all other sessions waiting."""
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        peer = await _connected(stream, far, contexts)
        flood = b"".join(peer.send(b"x") for _ in range(30_000))
        nursery.start_soon(far.send_all, flood)
        await wait_all_tasks_blocked()
        received = 0
        while received < 30_000:
            data = await stream.receive_some()
            assert len(data) <= 128
            received += len(data)


async def test_streams_take_turns(contexts: ServerContexts) -> None:
    """Each gets its own bytes, in large receives."""
    texts = [body(900_000), bytes(reversed(body(900_000)))]
    async with (
        stream_and_socket() as (one, far_one),
        stream_and_socket() as (other, far_other),
        trio.open_nursery() as nursery,
    ):
        streams = []
        for text, stream, far in zip(texts, (one, other), (far_one, far_other), strict=True):
            peer = await _connected(stream, far, contexts)
            nursery.start_soon(far.send_all, peer.send(text))
            streams.append(stream)
        received = [b"", b""]
        while any(len(got) < 900_000 for got in received):
            for index, stream in enumerate(streams):
                if len(received[index]) < 900_000:
                    received[index] += await stream.receive_some()
        assert received == texts


async def test_the_end_behind_a_large_receive(contexts: ServerContexts) -> None:
    """close_notify behind data takes none of it away."""
    async with stream_and_socket() as (stream, far), trio.open_nursery() as nursery:
        peer = await _connected(stream, far, contexts)
        data = body(300_000)
        nursery.start_soon(far.send_all, peer.send(data) + peer.send(b"last") + peer.send_close())
        await wait_all_tasks_blocked()
        received = b""
        while piece := await stream.receive_some():
            received += piece
        assert received == data + b"last"


async def test_a_closed_stream_shakes_no_hands(contexts: ServerContexts) -> None:
    async with stream_and_socket() as (stream, _):
        stream.abort()
        with pytest.raises(StreamBroken, match="aborted"):
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))


@pytest.mark.parametrize("expects_answers", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_answer_in_front_of_a_reset_is_received(
    version: ssl.TLSVersion, *, expects_answers: bool
) -> None:
    """A controller that refuses an upload leaves without reading it: its kernel sends a reset."""
    near, far = tcp_pair()
    far.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    stream = Stream(near)
    stream.expects_answers = expects_answers
    server = trio.SSLStream(
        trio.SocketStream(far), certificates.server_context(version), server_side=True
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        await stream.start_tls(TlsEngine(pinning_client_context(), server_side=False))
    await stream.send_all(bytes(20_000))
    await server.send_all(b"413")
    far.close()
    with trio.fail_after(10):
        while not stream.peer_has_closed():  # noqa: ASYNC110 - the kernel delivers it soon
            await trio.sleep(0.001)
    with pytest.raises(StreamBroken):
        await stream.send_all(bytes(50_000))
    assert stream.was_reset
    assert await stream.receive_some() == b"413"
    stream.abort()


async def test_an_answer_that_tls_owes_can_be_interrupted(
    contexts: ServerContexts, tmp_path: Path
) -> None:
    """A peer that asks for new keys and reads nothing holds up no deadline."""
    near, far = tcp_pair()
    near.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
    far.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 2048)
    far.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    stream = Stream(near)
    context = certificates.client_context(ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(tmp_path / "keys")
    peer = TlsPeer(context, server_side=False, server_name="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.start_tls, TlsEngine(contexts.entry, server_side=True))
        await far.send(peer.handshake())
        while not peer.handshake_done:
            await far.send(peer.handshake(await far.recv(65536)))
    writer = RecordWriter(traffic_secret(tmp_path / "keys", "CLIENT"))
    with near, far:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def demand() -> None:
                while stream._answering is None:
                    await far.send(b"".join(writer.key_update() for _ in range(4)))
                    await trio.sleep(0.001)

            with trio.fail_after(20), pytest.raises(ReceiveInterrupted):
                await stream.receive_some(until=trio.current_time() + 2.0)
            nursery.cancel_scope.cancel()
        # One that waits so and is cancelled leaves nothing behind that would swallow the next.
        with trio.move_on_after(0.2) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        assert stream._answering is None
        # It owes an answer still, and nobody who waits again waits for ever.
        before = stream.activity.received_at
        with trio.fail_after(20), pytest.raises(ReceiveInterrupted):
            await stream.receive_some(until=trio.current_time() + 0.5)
        assert stream.activity.received_at == before
