"""Tests of ``gateway.runtime.session_loop``: the watchdog at work, pumps, and how sessions end.

Time is a mock clock throughout. The rules it goes by are tested in ``test_session_liveness``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway.errors import Draining, PeerLost, Stalled
from gateway.runtime.lost_time import LostTime
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, Pump, SessionLoop
from gateway.transport.stream import Activity, Stream
from tests.loopback import stream_and_socket
from tests.runtime.line import DONE, LIMITS, NEVER, Line, after, forever, send_for_ever, waiting

# -- the watchdog itself ---------------------------------------------------------------------------


async def test_it_looks_now_and_then_only(autojump_clock: MockClock) -> None:
    """An idle session costs a wake-up or two per ping."""
    line = Line(answers=0.1)
    looks = 0

    class Counting(LegWatch):
        __slots__ = ()

        def judge(self, now: float) -> SessionEnd | None:
            nonlocal looks
            looks += 1
            return super().judge(now)

    watch = Counting(Side.AGENT, cast("Stream", line), LIMITS, send_ping=line.ping)
    await SessionLoop([watch]).run([line.answer, after(36_000)])
    assert looks < 4 * len(line.pings)


moments = st.floats(0, 1e6) | st.floats(0, 1.0)


@settings(max_examples=300, deadline=None)
@given(
    past=st.lists(moments, min_size=5, max_size=5),
    reading=st.booleans(),
    sending=st.booleans(),
    limits=st.builds(
        Limits, st.floats(0.1, 60), st.floats(0.1, 60), st.floats(0.1, 300) | st.just(math.inf)
    ),
    later=st.floats(0, 400),
)
def test_it_never_looks_into_the_past(
    past: list[float], reading: bool, sending: bool, limits: Limits, later: float
) -> None:
    """A next look that is not later than this one must have something to do, or it would spin."""
    base = max(past)

    class Still:
        activity = Activity(0.0)
        sending = False

    async def ping(_: bytes) -> None:
        raise AssertionError

    line = Still()
    line.activity.received_at, line.activity.sent_at, line.activity.progress_at = past[:3]
    line.activity.reading_since = past[3] if reading else None
    line.activity.sending_since = past[4] if sending else None
    watch = LegWatch(
        Side.AGENT,
        cast("Stream", line),
        limits,
        send_ping=waiting(ping),
        lost_time=LostTime(),
    )
    now = base + later
    for _ in range(5):
        if watch.judge(now) is not None or watch.ping_due() <= now:
            return
        following = watch.next_look(now)
        assert now < following <= now + limits.interval
        now = following


# -- pumps and ends --------------------------------------------------------------------------------


async def test_the_first_end_wins(autojump_clock: MockClock) -> None:
    line = Line()
    late = SessionEnd(Side.CONTROLLER, "late", 1011, "error")
    stopped: list[str] = []

    async def lasting() -> SessionEnd:
        try:
            return await forever()
        finally:
            stopped.append("cancelled")

    pumps = [after(5), after(6, late), lasting]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    assert trio.current_time() == pytest.approx(5)
    assert stopped == ["cancelled"]


async def test_an_end_from_outside(autojump_clock: MockClock) -> None:
    line = Line()
    loop = SessionLoop([line.watch()])
    draining = SessionEnd.of(Side.GATEWAY, Draining())

    async def shut_down() -> SessionEnd:
        await trio.sleep(3)
        loop.end(draining)
        loop.end(DONE)
        return await forever()

    assert await loop.run([shut_down, forever]) is draining
    loop.end(DONE)  # too late to matter


async def test_an_end_before_the_start(autojump_clock: MockClock) -> None:
    line = Line()
    loop = SessionLoop([line.watch()])
    loop.end(DONE)
    assert await loop.run([forever]) is DONE


@pytest.mark.parametrize("error", [ValueError("bug"), ExceptionGroup("bugs", [ValueError("bug")])])
async def test_a_bug_in_a_pump_ends_its_session_only(
    autojump_clock: MockClock, error: Exception
) -> None:
    line = Line()

    async def buggy() -> SessionEnd:
        await trio.sleep(1)
        raise error

    end = await SessionLoop([line.watch()]).run([forever, buggy])
    assert end.error is error
    assert (end.side, end.close_code, end.level) == (Side.GATEWAY, 1011, "error")
    assert end.reason == "internal error"


async def test_a_bug_in_a_ping_ends_its_session_only(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def ping(_: bytes) -> None:
        raise LookupError("bug")

    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=waiting(ping))
    end = await SessionLoop([watch]).run([forever])
    assert isinstance(end.error, LookupError)
    assert end.side is Side.GATEWAY


async def test_cancellation_from_outside_passes(autojump_clock: MockClock) -> None:
    line = Line()
    with trio.move_on_after(7) as scope:
        await SessionLoop([line.watch()]).run([forever])
        raise AssertionError("it went on after the cancellation")
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(7)


async def test_each_leg_is_judged_by_its_own_limits(autojump_clock: MockClock) -> None:
    agent, controller = Line(answers=0.1), Line()
    controller.reads()
    stream = cast("Stream", controller)
    watches = [agent.watch(), LegWatch(Side.CONTROLLER, stream, NEVER)]
    end = await SessionLoop(watches).run(
        [agent.answer, lambda: send_for_ever(controller), after(1000)]
    )
    assert end.side is Side.CONTROLLER
    assert isinstance(end.error, Stalled)
    assert trio.current_time() == pytest.approx(300)


# -- on real sockets -------------------------------------------------------------------------------


@pytest.fixture
def kernel_clock() -> MockClock:
    """Time jumps only after the kernel had its moment."""
    return MockClock(autojump_threshold=0.02)


@asynccontextmanager
async def session_on_sockets() -> AsyncIterator[tuple[Stream, trio.SocketStream, LegWatch]]:
    async with stream_and_socket() as (stream, far):
        yield (
            stream,
            far,
            LegWatch(
                Side.AGENT,
                stream,
                LIMITS,
                send_ping=waiting(stream.send_all),
            ),
        )


async def _receive_for_ever(stream: Stream) -> SessionEnd:
    while await stream.receive_some():
        pass
    return DONE


async def test_a_silent_socket_is_lost(kernel_clock: MockClock) -> None:
    async with session_on_sockets() as (stream, far, watch):
        end = await SessionLoop([watch]).run([lambda: _receive_for_ever(stream)])
        assert isinstance(end.error, PeerLost)
        assert trio.current_time() == pytest.approx(60)
        assert await far.receive_some() == b"rgw1rgw2rgw3"


async def test_a_socket_that_answers_lives(kernel_clock: MockClock) -> None:
    async with session_on_sockets() as (stream, far, watch):

        async def echo() -> SessionEnd:
            while True:
                await far.send_all(await far.receive_some())

        pumps = [lambda: _receive_for_ever(stream), echo, after(600)]
        assert await SessionLoop([watch]).run(pumps) == DONE
        assert not watch.suspect


async def test_a_socket_that_takes_nothing_stalls(kernel_clock: MockClock) -> None:
    """It sends all the while, but its end of the other direction is full."""
    async with session_on_sockets() as (stream, far, watch):

        async def flood() -> SessionEnd:
            while True:
                await stream.send_all(bytes(1 << 20))

        async def talk() -> SessionEnd:
            while True:
                await far.send_all(b"x")
                await trio.sleep(10)

        end = await SessionLoop([watch]).run([lambda: _receive_for_ever(stream), flood, talk])
        assert isinstance(end.error, Stalled)
        assert trio.current_time() == pytest.approx(300)


async def test_a_slow_reader_lives_by_what_it_takes(kernel_clock: MockClock) -> None:
    """It says nothing for minutes, but our send moves on."""
    async with session_on_sockets() as (stream, far, watch):

        async def send() -> SessionEnd:
            await stream.send_all(bytes(2 << 20))
            return DONE

        async def take() -> SessionEnd:
            while True:
                await trio.sleep(40)
                taken = 0
                while taken < 1 << 18:
                    taken += len(await far.receive_some(1 << 18))

        pumps = [lambda: _receive_for_ever(stream), send, take]
        assert await SessionLoop([watch]).run(pumps) == DONE
        assert trio.current_time() >= 120


async def test_a_bug_in_the_watchdog_ends_one_session(autojump_clock: MockClock) -> None:
    """All are looked after by one task, which must outlive it."""

    class Broken(LegWatch):
        __slots__ = ()

        def judge(self, now: float) -> SessionEnd | None:
            if now >= 10:
                raise ZeroDivisionError
            return super().judge(now)

    line, other = Line(), Line(answers=0.1)
    watch = Broken(Side.AGENT, cast("Stream", line), LIMITS, send_ping=line.ping)
    ends: list[SessionEnd] = []

    async def run(watch: LegWatch, *pumps: Pump) -> None:
        ends.append(await SessionLoop([watch]).run(pumps))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, watch, forever)
        nursery.start_soon(run, other.watch(), other.answer, after(100))
    assert ends[0].side is Side.GATEWAY
    assert isinstance(ends[0].error, ZeroDivisionError)
    assert ends[1] == DONE
    assert len(other.pings) >= 4
