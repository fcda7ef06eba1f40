"""Tests of ``gateway.runtime.session_loop``: who is pinged, suspected, given up, and when.

Time is a mock clock throughout. Most tests run on a ``Line``, a stream without sockets that keeps
the same records as a real one; the last ones on real sockets.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway.errors import Draining, PeerLost, Stalled
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, SessionLoop
from gateway.transport.stream import Activity, Stream, StreamBroken
from tests.loopback import stream_and_socket

LIMITS = Limits(interval=20.0, suspect_after=20.0, dead_after=60.0)
NEVER = Limits(20.0, math.inf, math.inf)
DONE = SessionEnd(Side.AGENT, "done", 1000, "info")
EPSILON = 1e-6


class Line:
    """A stream as the watchdog sees it: its records, and one sender at a time.

    ``answers`` is how long the peer takes to send a byte after a ping; None means never.
    """

    def __init__(self, *, answers: float | None = None) -> None:
        self.activity = Activity(trio.current_time())
        self.answers = answers
        self.pings: list[tuple[float, bytes]] = []
        self.broken: str | None = None
        self._lock = trio.Lock()
        self.asked = trio.Event()

    def reads(self) -> None:
        """Start to wait for bytes, as a pump does."""
        self.activity.reading_since = trio.current_time()

    def hears(self) -> None:
        """Get a byte, and go back to waiting if that is what was done before."""
        now = self.activity.received_at = trio.current_time()
        if self.activity.reading_since is not None:
            self.activity.reading_since = now

    async def send(self, *, takes: float = 0.0, moves_every: float = math.inf) -> None:
        """Send something; it waits ``takes`` seconds and moves on every ``moves_every`` of them."""
        activity = self.activity
        async with self._lock:
            activity.sending_since = trio.current_time()
            end = trio.current_time() + takes
            while trio.current_time() < end:
                await trio.sleep(min(moves_every, end - trio.current_time()))
                if moves_every < math.inf:
                    activity.progress_at = trio.current_time()
            activity.sent_at = trio.current_time()
            activity.sending_since = None

    async def ping(self, payload: bytes) -> None:
        if self.broken is not None:
            raise StreamBroken(self.broken)
        await self.send()
        self.pings.append((trio.current_time(), payload))
        self.asked.set()

    async def answer(self) -> SessionEnd:
        """A pump that brings the answers to pings."""
        assert self.answers is not None
        self.reads()
        while True:
            await self.asked.wait()
            self.asked = trio.Event()
            await trio.sleep(self.answers)
            self.hears()

    def watch(self, limits: Limits = LIMITS, *, pings: bool = True) -> LegWatch:
        stream = cast("Stream", self)
        return LegWatch(Side.AGENT, stream, limits, send_ping=self.ping if pings else None)


@pytest.fixture
def clock() -> MockClock:
    """Time jumps whenever all tasks wait: nothing here waits for a kernel."""
    return MockClock(autojump_threshold=0)


async def forever() -> SessionEnd:
    await trio.sleep_forever()
    raise AssertionError


def every(seconds: float, act: Callable[[], object]) -> Callable[[], Awaitable[SessionEnd]]:
    """Return a pump that does something every so often."""

    async def pump() -> SessionEnd:
        while True:
            await trio.sleep(seconds)
            result = act()
            if isinstance(result, Awaitable):
                await result

    return pump


def after(seconds: float, end: SessionEnd = DONE) -> Callable[[], Awaitable[SessionEnd]]:
    """Return a pump that ends the session."""

    async def pump() -> SessionEnd:
        await trio.sleep(seconds)
        return end

    return pump


# -- when to ping ----------------------------------------------------------------------------------


async def test_a_ping_follows_our_own_silence(clock: MockClock) -> None:
    """Whatever arrives: proxies look at each direction. Never later than the interval."""
    line = Line()
    line.reads()
    await SessionLoop([line.watch()]).run([every(5, line.hears), after(1000)])
    times = [0.0, *(at for at, _ in line.pings)]
    gaps = [b - a for a, b in pairwise(times)]
    assert 50 <= len(gaps) <= 56
    assert min(gaps) >= 18 - EPSILON
    assert max(gaps) <= 20 + EPSILON
    assert len({round(gap, 6) for gap in gaps}) > 5, "all sessions would ping at the same moments"


async def test_no_ping_while_both_talk(clock: MockClock) -> None:
    line = Line()
    line.reads()
    pumps = [every(10, line.hears), every(10, line.send), after(1000)]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    assert line.pings == []


async def test_a_silent_peer_is_pinged_though_we_send(clock: MockClock) -> None:
    """One that only downloads has nothing else to show that it lives; one ping, then patience."""
    line = Line()
    line.reads()
    await SessionLoop([line.watch()]).run([every(5, line.send), after(59)])
    assert len(line.pings) == 1
    assert 18 - EPSILON <= line.pings[0][0] <= 20 + EPSILON


async def test_a_peer_that_only_downloads_lives(clock: MockClock) -> None:
    line = Line(answers=0.2)
    pumps = [every(5, line.send), line.answer, after(3600)]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    assert 3600 / 21 < len(line.pings) < 3600 / 18 + 1


async def test_a_ping_gets_its_turn_between_sends_that_never_pause(clock: MockClock) -> None:
    """However busy we are, a peer that is to show life must be asked for it."""
    line = Line(answers=0.2)

    async def download() -> SessionEnd:
        while True:
            await line.send(takes=0.04)

    pumps = [download, line.answer, after(200)]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    times = [0.0, *(at for at, _ in line.pings)]
    assert max(b - a for a, b in pairwise(times)) < 21


async def test_pings_are_told_apart(clock: MockClock) -> None:
    line = Line(answers=0.1)
    await SessionLoop([line.watch()]).run([line.answer, after(200)])
    payloads = [payload for _, payload in line.pings]
    assert len(set(payloads)) == len(payloads) > 5
    assert all(1 <= len(payload) <= 125 for payload in payloads)


async def test_a_leg_without_pings_is_not_pinged(clock: MockClock) -> None:
    """JNLP4 has none, and a controller may be silent for hours."""
    line = Line()
    line.reads()
    assert await SessionLoop([line.watch(NEVER, pings=False)]).run([after(86400.0)]) == DONE
    assert line.pings == []


# -- who is suspect, who is lost -------------------------------------------------------------------


@pytest.mark.parametrize("we_send", [False, True])
async def test_a_silent_peer_is_suspect_within_40_s_and_lost_at_60(
    clock: MockClock, we_send: bool
) -> None:
    line = Line()
    watch = line.watch()
    line.reads()
    suspect_at: list[float] = []

    async def observe() -> SessionEnd:
        for _ in range(600):
            await trio.sleep(0.1)
            if watch.suspect:
                suspect_at.append(trio.current_time())
        return await forever()

    pumps = [observe, every(3, line.send)] if we_send else [observe]
    end = await SessionLoop([watch]).run(pumps)
    assert 38 <= suspect_at[0] <= 40.2
    assert trio.current_time() == pytest.approx(60)
    assert isinstance(end.error, PeerLost)
    assert (end.side, end.close_code, end.reason) == (Side.AGENT, 1011, "no byte for 60 s")


async def test_a_byte_clears_suspicion(clock: MockClock) -> None:
    line = Line()
    watch = line.watch()
    line.reads()

    async def pump() -> SessionEnd:
        await trio.sleep(50)
        assert watch.suspect
        line.hears()
        await trio.lowlevel.checkpoint()
        assert not watch.suspect
        await trio.sleep(15)
        assert not watch.suspect
        await trio.sleep(40)
        assert watch.suspect
        return DONE

    assert await SessionLoop([watch]).run([pump]) == DONE


async def test_silence_counts_from_the_last_byte(clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def pump() -> SessionEnd:
        await trio.sleep(45)
        line.hears()
        return await forever()

    end = await SessionLoop([line.watch()]).run([pump])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(105)


async def test_silence_that_we_cannot_hear_does_not_count(clock: MockClock) -> None:
    """A controller that stops reading for minutes stops us from reading the agent."""
    line = Line()
    watch = line.watch()

    async def pump() -> SessionEnd:
        for _ in range(240):
            await trio.sleep(1)
            assert not watch.suspect
        line.reads()
        return await forever()

    end = await SessionLoop([watch]).run([pump])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(300)
    assert len(line.pings) >= 12, "it is kept alive all the while"


async def test_a_suspect_that_we_stop_hearing_is_no_suspect(clock: MockClock) -> None:
    line = Line()
    watch = line.watch()
    line.reads()

    async def pump() -> SessionEnd:
        await trio.sleep(45)
        assert watch.suspect
        line.hears()
        line.activity.reading_since = None  # it uploads, and the controller does not read
        assert not watch.suspect
        await trio.sleep(200)
        return DONE

    assert await SessionLoop([watch]).run([pump]) == DONE


async def test_limits_are_configured(clock: MockClock) -> None:
    line = Line()
    watch = line.watch(Limits(interval=2.0, suspect_after=1.0, dead_after=4.5))
    line.reads()

    async def pump() -> SessionEnd:
        await trio.sleep(1.7)
        assert line.pings == []
        await trio.sleep(1.4)
        assert watch.suspect
        return await forever()

    end = await SessionLoop([watch]).run([pump])
    assert trio.current_time() == pytest.approx(4.5)
    assert end.reason == "no byte for 4.5 s"


# -- sends that wait -------------------------------------------------------------------------------


async def test_a_send_without_progress_ends_the_session(clock: MockClock) -> None:
    line = Line(answers=0.1)

    async def pump() -> SessionEnd:
        await trio.sleep(100)
        await line.send(takes=10_000)
        raise AssertionError

    end = await SessionLoop([line.watch(NEVER, pings=False)]).run([pump, line.answer])
    assert isinstance(end.error, Stalled)
    assert trio.current_time() == pytest.approx(400)
    assert "300 s" in end.reason


async def test_a_send_with_progress_may_take_for_ever(clock: MockClock) -> None:
    line = Line()
    watch = line.watch(NEVER, pings=False)

    async def pump() -> SessionEnd:
        await line.send(takes=10_000, moves_every=299)
        return DONE

    assert await SessionLoop([watch]).run([pump]) == DONE


async def test_progress_is_a_sign_of_life(clock: MockClock) -> None:
    """A peer behind a slow line that takes our bytes, its own answers far behind them."""
    line = Line()
    line.reads()

    async def pump() -> SessionEnd:
        await line.send(takes=1000, moves_every=50)
        return await forever()

    end = await SessionLoop([line.watch()]).run([pump])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(1060)


async def test_a_silent_peer_that_takes_nothing_is_lost_at_60(clock: MockClock) -> None:
    """The ping waits behind the send, and nobody waits for the ping."""
    line = Line()
    watch = line.watch()
    line.reads()
    end = await SessionLoop([watch]).run([lambda: _send_for_ever(line)])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(60)
    assert line.pings == []


async def test_a_talking_peer_that_takes_nothing_is_stalled_at_300(clock: MockClock) -> None:
    """It uploads, so it lives; that it takes nothing for minutes is Jenkins' own limit."""
    line = Line()
    line.reads()
    pumps = [lambda: _send_for_ever(line), every(1, line.hears)]
    end = await SessionLoop([line.watch()]).run(pumps)
    assert isinstance(end.error, Stalled)
    assert trio.current_time() == pytest.approx(300)


async def test_a_ping_that_is_not_taken_is_a_send_like_any_other(clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def ping(payload: bytes) -> None:
        await _send_for_ever(line)

    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=ping)
    end = await SessionLoop([watch]).run([every(1, line.hears)])
    assert isinstance(end.error, Stalled)
    assert 318 <= trio.current_time() <= 320 + EPSILON


async def _send_for_ever(line: Line) -> SessionEnd:
    await line.send(takes=1e9)
    raise AssertionError


async def test_a_ping_that_cannot_be_sent_ends_the_session(clock: MockClock) -> None:
    line = Line()
    line.broken = "connection reset by peer"
    line.reads()
    end = await SessionLoop([line.watch()]).run([forever])
    assert isinstance(end.error, PeerLost)
    assert "connection reset by peer" in end.reason
    assert 18 <= trio.current_time() <= 20


# -- pongs -----------------------------------------------------------------------------------------


async def test_round_trip(clock: MockClock) -> None:
    line = Line()
    watch = line.watch()
    line.reads()
    assert watch.round_trip is None

    async def pump() -> SessionEnd:
        for delay in (0.25, 0.5):
            await line.asked.wait()
            line.asked = trio.Event()
            await trio.sleep(delay - (trio.current_time() - line.pings[0][0]))
            assert watch.receive_pong(line.pings.pop()[1])
            assert watch.round_trip == pytest.approx(delay)
            line.hears()
        return DONE

    assert await SessionLoop([watch]).run([pump]) == DONE


async def test_foreign_pongs_say_nothing(clock: MockClock) -> None:
    """RFC 6455 section 5.5.3 allows unasked ones; a proxy's and an older ping's are not ours."""
    line = Line(answers=0.1)
    watch = line.watch()
    assert not watch.receive_pong(b"")
    assert not watch.receive_pong(b"rgw0")
    await SessionLoop([watch]).run([line.answer, after(50)])
    old, new = (payload for _, payload in line.pings)
    for foreign in (b"", b"rgw", old, new + b"0", new[:-1], b"\xff" * 125):
        assert not watch.receive_pong(foreign)
    assert watch.round_trip is None
    assert watch.receive_pong(new)


# -- the watchdog itself ---------------------------------------------------------------------------


async def test_it_looks_now_and_then_only(clock: MockClock) -> None:
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
    watch = LegWatch(Side.AGENT, cast("Stream", line), limits, send_ping=ping)
    now = base + later
    for _ in range(5):
        if watch.judge(now) is not None or watch.ping_due() <= now:
            return
        following = watch.next_look(now)
        assert now < following <= now + limits.interval
        now = following


# -- pumps and ends --------------------------------------------------------------------------------


async def test_the_first_end_wins(clock: MockClock) -> None:
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


async def test_an_end_from_outside(clock: MockClock) -> None:
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


async def test_an_end_before_the_start(clock: MockClock) -> None:
    line = Line()
    loop = SessionLoop([line.watch()])
    loop.end(DONE)
    assert await loop.run([forever]) is DONE


@pytest.mark.parametrize("error", [ValueError("bug"), ExceptionGroup("bugs", [ValueError("bug")])])
async def test_a_bug_in_a_pump_ends_its_session_only(clock: MockClock, error: Exception) -> None:
    line = Line()

    async def buggy() -> SessionEnd:
        await trio.sleep(1)
        raise error

    end = await SessionLoop([line.watch()]).run([forever, buggy])
    assert end.error is error
    assert (end.side, end.close_code, end.level) == (Side.GATEWAY, 1011, "error")
    assert end.reason == "internal error"


async def test_a_bug_in_a_ping_ends_its_session_only(clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def ping(_: bytes) -> None:
        raise LookupError("bug")

    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=ping)
    end = await SessionLoop([watch]).run([forever])
    assert isinstance(end.error, LookupError)
    assert end.side is Side.GATEWAY


async def test_cancellation_from_outside_passes(clock: MockClock) -> None:
    line = Line()
    with trio.move_on_after(7) as scope:
        await SessionLoop([line.watch()]).run([forever])
        raise AssertionError("it went on after the cancellation")
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(7)


async def test_each_leg_is_judged_by_its_own_limits(clock: MockClock) -> None:
    agent, controller = Line(answers=0.1), Line()
    controller.reads()
    stream = cast("Stream", controller)
    watches = [agent.watch(), LegWatch(Side.CONTROLLER, stream, NEVER)]
    end = await SessionLoop(watches).run(
        [agent.answer, lambda: _send_for_ever(controller), after(1000)]
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
        yield stream, far, LegWatch(Side.AGENT, stream, LIMITS, send_ping=stream.send_all)


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
