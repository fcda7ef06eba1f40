"""The word to stop: what it cuts short and what it leaves alone."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.runtime.drain import Drain


async def test_the_word_ends_every_idle_wait_and_nothing_else() -> None:
    drain = Drain()
    passed: list[str] = []
    may_finish = trio.Event()

    async def wait_idle(name: str) -> None:
        with drain.idle():
            await trio.sleep_forever()
        passed.append(name)

    async def work() -> None:
        with drain.idle():
            await trio.lowlevel.checkpoint()
        await may_finish.wait()
        passed.append("work")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_idle, "a")
        nursery.start_soon(wait_idle, "b")
        nursery.start_soon(work)
        await trio.testing.wait_all_tasks_blocked()
        assert not drain.begun
        drain.begin()
        assert drain.begun
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(passed) == ["a", "b"]
        may_finish.set()
    assert passed[2:] == ["work"]


async def test_a_wait_that_begins_later_ends_before_it_blocks() -> None:
    drain = Drain()
    drain.begin()
    drain.begin()  # more than once is no more than once
    reached = False
    with drain.idle():
        reached = True
        await trio.sleep_forever()
        pytest.fail("the wait was not cut short")
    assert reached


async def test_waits_that_are_over_are_forgotten() -> None:
    """A connection waits once a request: keeping them would be a leak."""
    drain = Drain()
    for _ in range(3):
        with drain.idle():
            await trio.lowlevel.checkpoint()
        with pytest.raises(KeyError), drain.idle():
            raise KeyError
    assert drain._idle == set()


async def test_what_was_received_in_time_is_not_lost() -> None:
    drain = Drain()
    near, far = trio.testing.memory_stream_pair()
    received = b""
    await far.send_all(b"GET")
    with drain.idle():
        received = bytes(await near.receive_some())
        drain.begin()
    assert received == b"GET"
    await trio.lowlevel.checkpoint()  # the scope is left: nothing here is cancelled


async def test_another_cancellation_passes_through() -> None:
    drain = Drain()
    with trio.CancelScope() as outer:
        outer.cancel()
        with drain.idle():
            await trio.sleep_forever()
        pytest.fail("the cancellation was swallowed")
    assert outer.cancelled_caught


async def test_who_is_to_leave_is_not_hurried() -> None:
    drain = Drain()
    assert not drain.leaving
    drain.leave()
    assert drain.leaving
    assert not drain.begun
    with trio.move_on_after(0) as scope, drain.idle():
        await trio.sleep_forever()
    assert scope.cancelled_caught
    stopped = Drain()
    stopped.begin()
    assert stopped.leaving
