"""Deadlines of receives: they end, in time within the resolution, and nothing else does."""

from __future__ import annotations

import math
import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.transport.patience import RESOLUTION, Patience, current_patience
from gateway.transport.stream import ReceiveInterrupted, Stream, StreamBroken


async def make_pair() -> tuple[Stream, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return Stream(trio.socket.from_stdlib_socket(ours)), theirs


class _Waiter:
    def __init__(self, until: float) -> None:
        self.until = until
        self.interrupted_at: float | None = None

    def interrupt(self) -> None:
        if self.interrupted_at is None:  # a stream would have left; this one is told again
            self.interrupted_at = trio.current_time()


async def test_those_whose_time_has_come_are_interrupted(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    patience = Patience()
    first, second, left = (_Waiter(start + seconds) for seconds in (3.0, 7.2, 4.0))
    for waiter in (first, second, left):
        patience.add(waiter)
    await trio.sleep(2)
    patience.discard(left)
    patience.discard(left)  # once more is no harm
    await trio.sleep(10)
    assert first.interrupted_at is not None
    assert second.interrupted_at is not None
    assert 0 <= first.interrupted_at - start - 3.0 <= RESOLUTION
    assert 0 <= second.interrupted_at - start - 7.2 <= RESOLUTION
    assert left.interrupted_at is None


async def test_nobody_looks_where_nobody_waits_and_somebody_does_again(
    autojump_clock: MockClock,
) -> None:
    patience = Patience()
    for _ in range(2):
        waiter = _Waiter(trio.current_time() + 1)
        patience.add(waiter)
        await trio.sleep(2)
        assert waiter.interrupted_at is not None
        patience.discard(waiter)
        await trio.sleep(1)
        assert not patience._looking


async def test_there_is_one_for_all_streams_of_an_event_loop() -> None:
    assert current_patience() is current_patience()


async def test_a_receive_ends_when_its_time_is_over_and_can_be_repeated(
    autojump_clock: MockClock,
) -> None:
    stream, far = await make_pair()
    began = trio.current_time()
    with pytest.raises(ReceiveInterrupted):
        await stream.receive_some(until=began + 5)
    assert 5 <= trio.current_time() - began <= 5 + RESOLUTION
    assert stream.broken is None
    assert stream.activity.reading_since is None
    far.send(b"late")
    assert await stream.receive_some(until=trio.current_time() + 5) == b"late"
    # And one without a limit has none, also after one that had.
    with trio.move_on_after(1000) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    stream.abort()
    far.close()


async def test_a_receive_may_be_told_to_hurry(autojump_clock: MockClock) -> None:
    stream, far = await make_pair()
    began = trio.current_time()

    async def hurry() -> None:
        await trio.sleep(2)
        stream.until = min(stream.until, trio.current_time() + 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry)
        with pytest.raises(ReceiveInterrupted):
            await stream.receive_some(until=began + 60)
    assert 3 <= trio.current_time() - began <= 3 + RESOLUTION
    stream.abort()
    far.close()


async def test_interrupt_ends_the_receive_that_waits_and_no_later_one() -> None:
    stream, far = await make_pair()
    stream.interrupt()  # nobody waits
    ended: list[str] = []

    async def receive() -> None:
        try:
            ended.append((await stream.receive_some(until=math.inf)).decode())
        except ReceiveInterrupted:
            ended.append("interrupted")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.interrupt()
        await wait_all_tasks_blocked()
        assert ended == ["interrupted"]
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        far.send(b"data")
    assert ended == ["interrupted", "data"]
    stream.abort()
    far.close()


async def test_data_that_came_at_the_same_moment_is_not_lost() -> None:
    stream, far = await make_pair()
    received: list[bytes] = []

    async def receive() -> None:
        try:
            received.append(await stream.receive_some())
        except ReceiveInterrupted:
            received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        far.send(b"data")
        stream.interrupt()
    assert received == [b"data"]
    stream.abort()
    far.close()


async def test_interrupt_leaves_a_send_that_waits_alone() -> None:
    stream, far = await make_pair()
    data = bytes(8 * 1024 * 1024)
    received = 0

    async def receive() -> None:
        with pytest.raises(ReceiveInterrupted):
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, data)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.interrupt()
        await wait_all_tasks_blocked()
        assert stream.broken is None
        while received < len(data):
            await trio.lowlevel.wait_readable(far)
            received += len(far.recv(1024 * 1024))
    assert stream.activity.bytes_sent == len(data)
    stream.abort()
    far.close()


async def test_closing_is_no_interruption() -> None:
    stream, far = await make_pair()

    async def receive() -> None:
        with pytest.raises(StreamBroken, match=r"closed|aborted"):
            await stream.receive_some(until=trio.current_time() + 60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.interrupt()
        stream.abort()
    far.close()
