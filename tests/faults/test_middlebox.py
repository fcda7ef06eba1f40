"""The middle-box itself: each fault does what it says, and nothing when none is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.peers.middlebox import Crossing, Fault, Lane, Middlebox


@asynccontextmanager
async def crossed(
    **options: object,
) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream, Crossing]]:
    """Yield both ends of a connection through a box, and the connection."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    box = Middlebox(listener.socket.getsockname()[:2], **options)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery, listener:
        await nursery.start(box.run)
        near = await trio.open_tcp_stream("127.0.0.1", box.port)
        async with near, await listener.accept() as far:
            yield near, far, await box.wait_for_crossing()
        nursery.cancel_scope.cancel()


async def read(stream: trio.SocketStream, size: int) -> bytes:
    """Return exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        piece = bytes(await stream.receive_some(size - len(data)))
        assert piece
        data += piece
    return data


async def test_bytes_and_ends_pass(clock: MockClock) -> None:
    async with crossed() as (near, far, crossing):
        await near.send_all(b"up" * 1000)
        assert await read(far, 2000) == b"up" * 1000
        await near.send_eof()
        assert await far.receive_some() == b""
        await far.send_all(b"down")
        await far.send_eof()
        assert await read(near, 4) == b"down"
        assert await near.receive_some() == b""
        assert (crossing.up.delivered, crossing.down.delivered) == (2000, 4)


async def test_a_reset_passes(clock: MockClock) -> None:
    async with crossed() as (near, far, crossing):
        await near.send_all(b"x")
        assert await read(far, 1) == b"x"
        crossing.up.strike(Fault.RESET)
        for end in (near, far):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some()


async def test_one_byte_at_a_time(clock: MockClock) -> None:
    async with crossed(up=Lane(piece=1, delay=0.1)) as (near, far, _):
        await near.send_all(b"abc")
        assert [await far.receive_some() for _ in b"abc"] == [b"a", b"b", b"c"]


async def test_delay_and_rate(clock: MockClock) -> None:
    async with crossed(up=Lane(delay=3.0), down=Lane(rate=1000.0)) as (near, far, _):
        began = trio.current_time()
        await near.send_all(b"x")
        await read(far, 1)
        assert 3.0 <= trio.current_time() - began < 3.5
        began = trio.current_time()
        await far.send_all(b"y" * 10_000)
        await read(near, 10_000)
        assert 10.0 <= trio.current_time() - began < 11.0


async def test_what_is_delivered_before_a_fault(clock: MockClock) -> None:
    async with crossed(down=Lane(after=5, fault=Fault.FIN)) as (near, far, _):
        await far.send_all(b"123456789")
        assert await read(near, 5) == b"12345"
        assert await near.receive_some() == b""
        await near.send_all(b"the other way is open")
        await read(far, 21)


async def test_a_black_hole_takes_everything(clock: MockClock) -> None:
    async with crossed() as (near, far, crossing):
        crossing.strike(Fault.BLACK_HOLE)
        await near.send_all(bytes(10_000_000))
        await near.send_eof()
        with trio.move_on_after(1000) as scope:
            await far.receive_some()
        assert scope.cancelled_caught


async def test_what_is_frozen_takes_nothing(clock: MockClock) -> None:
    async with crossed() as (near, far, crossing):
        crossing.strike(Fault.FREEZE)
        with trio.move_on_after(1000) as scope:
            await near.send_all(bytes(30_000_000))
        assert scope.cancelled_caught
        crossing.reset()
        with pytest.raises(trio.BrokenResourceError):
            await far.receive_some()


async def test_idle_connections_are_cut(clock: MockClock) -> None:
    async with crossed(idle_cut=60.0) as (near, far, _):
        for _ in range(5):
            await trio.sleep(50)
            await near.send_all(b"x")
            await read(far, 1)
            await wait_all_tasks_blocked()
        with trio.fail_after(61), pytest.raises(trio.BrokenResourceError):
            await near.receive_some()
