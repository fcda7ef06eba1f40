"""One direction of a relayed WebSocket, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.http.websocket_way import Leg, Way
from gateway.protocol.ws_relay import FrameScanner
from gateway.runtime.session_end import Side
from gateway.runtime.session_loop import LegWatch, Limits
from gateway.transport.stream import Stream
from tests.peers.raw_frames import BINARY, CLOSE, MASK, PING, close, frame, masked

FAREWELL = close(1012)
WHOLE = frame(BINARY, bytes(1000))
LIMITS = Limits(20.0, 20.0, 60.0)


@asynccontextmanager
async def way(to: Side) -> AsyncIterator[tuple[trio.SocketStream, Way, trio.SocketStream]]:
    """Yield a way and its two far ends: who sends, and who gets it."""
    source_near, source_far = trio.socket.socketpair()
    sink_near, sink_far = trio.socket.socketpair()
    source = Leg(Side.AGENT if to is Side.CONTROLLER else Side.CONTROLLER, Stream(source_near), b"")
    sink = Leg(to, Stream(sink_near), b"")
    watch = LegWatch(to, sink.stream, LIMITS)
    try:
        yield (
            trio.SocketStream(source_far),
            Way(source, sink, FrameScanner(lambda payload: False), watch),
            trio.SocketStream(sink_far),
        )
    finally:
        for sock in (source_near, source_far, sink_near, sink_far):
            sock.close()


async def test_frames_to_a_controller_are_masked() -> None:
    ping = frame(PING, b"abc", mask=None)
    async with way(Side.AGENT) as (_, to_agent, _):
        assert to_agent.frame(ping) == ping
    async with way(Side.CONTROLLER) as (_, to_controller, _):
        sent = to_controller.frame(ping)
        assert sent[:2] == bytes((0x80 | PING, 0x80 | 3))
        assert masked(sent[6:], sent[2:6]) == b"abc"


async def test_at_a_boundary_the_farewell_goes_at_once() -> None:
    async with way(Side.CONTROLLER) as (_, tested, receiver):
        await tested.finish(lambda: FAREWELL)
        assert tested.told
        assert await receiver.receive_some() == FAREWELL


@pytest.mark.parametrize("ping", [b"", frame(PING, b"p")])
async def test_the_frame_under_way_goes_before(ping: bytes) -> None:
    """With what waits for its end, and without what is behind it."""
    async with way(Side.CONTROLLER) as (sender, tested, receiver):
        await tested.send(tested.scanner.receive_data(WHOLE[:300]))
        if ping:
            assert not tested.scanner.insert(ping)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tested.finish, lambda: FAREWELL)
            await sender.send_all(WHOLE[300:700])
            await trio.sleep(0.01)
            assert not tested.told
            await sender.send_all(WHOLE[700:] + WHOLE + close(1000))
        expected = WHOLE + ping + FAREWELL
        got = b""
        while len(got) < len(expected):
            got += await receiver.receive_some()
        assert got == expected
        assert tested.scanner.closed  # nobody has to wait for that any more
        await tested.await_close_frame()


async def test_a_frame_that_is_cut_short_has_no_farewell() -> None:
    async with way(Side.CONTROLLER) as (sender, tested, receiver):
        await tested.send(tested.scanner.receive_data(WHOLE[:300]))
        await sender.send_all(WHOLE[300:301])
        await sender.send_eof()
        await tested.finish(lambda: FAREWELL)
        assert not tested.told
        assert await receiver.receive_some() == WHOLE[:301]


async def test_waiting_for_a_close_frame() -> None:
    async with way(Side.CONTROLLER) as (sender, tested, _):
        await sender.send_all(frame(BINARY, b"") * 10_000 + frame(CLOSE, b"", mask=MASK) + WHOLE)
        await tested.await_close_frame()
        assert tested.scanner.closed
    async with way(Side.CONTROLLER) as (sender, tested, _):
        await sender.send_all(WHOLE)
        await sender.send_eof()
        await tested.await_close_frame()
        assert not tested.scanner.closed
