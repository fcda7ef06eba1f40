"""Tests of challenges in ``gateway.runtime.session_loop``: who lives, who is silent, who cannot be
judged. Time is a mock clock throughout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, SessionLoop, Sign
from gateway.transport.stream import Stream
from tests.runtime.line import DONE, LIMITS, Line, after, forever, waiting

Pump = Callable[[], Awaitable[SessionEnd]]


class Challenged:
    """A session that runs, and answers to challenges that others put to it."""

    def __init__(self, line: Line, watch: LegWatch, *pumps: Pump) -> None:
        self.line = line
        self.watch = watch
        self.loop = SessionLoop([watch])
        self.pumps = pumps

    async def challenge(self, times: int = 1, *, at: float = 1.0) -> list[Sign]:
        """Challenge it ``times`` at once, ``at`` seconds after its beginning."""
        signs: list[Sign] = []

        async def ask() -> None:
            signs.append(await self.loop.challenge(self.watch))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.loop.run, [*self.pumps, after(1000)])
            await trio.sleep(at)
            async with trio.open_nursery() as asking:
                for _ in range(times):
                    asking.start_soon(ask)
            nursery.cancel_scope.cancel()
        return signs


async def test_silence_for_five_seconds(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    assert await Challenged(line, line.watch()).challenge() == [Sign.SILENT]
    assert trio.current_time() == pytest.approx(6)
    assert [at for at, _ in line.pings] == [pytest.approx(1)]


@pytest.mark.parametrize("after_s", [0.0, 0.3, 4.9])
async def test_any_byte_is_a_sign(after_s: float, autojump_clock: MockClock) -> None:
    line = Line(answers=after_s)
    assert await Challenged(line, line.watch(), line.answer).challenge() == [Sign.ALIVE]
    assert trio.current_time() <= 1 + after_s + 0.26


async def test_a_byte_from_before_is_none(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def hear() -> SessionEnd:
        await trio.sleep(0.99)
        line.hears()
        return await forever()

    assert await Challenged(line, line.watch(), hear).challenge() == [Sign.SILENT]


async def test_a_thousand_share_one_ping(autojump_clock: MockClock) -> None:
    line = Line(answers=1.0)
    signs = await Challenged(line, line.watch(), line.answer).challenge(1000)
    assert signs == [Sign.ALIVE] * 1000
    assert len(line.pings) == 1


async def test_an_answer_is_not_used_twice(autojump_clock: MockClock) -> None:
    """The cable may have been pulled in between."""
    line = Line(answers=0.5)
    made = Challenged(line, line.watch(), line.answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.loop.run, [line.answer, after(1000)])
        await trio.sleep(1)
        assert await made.loop.challenge(made.watch) is Sign.ALIVE
        line.answers = 1e6
        assert await made.loop.challenge(made.watch) is Sign.SILENT
        nursery.cancel_scope.cancel()


async def test_who_asked_first_may_leave(autojump_clock: MockClock) -> None:
    """The ping is the session's: it is sent, and pings go on."""
    line = Line()
    line.reads()
    made = Challenged(line, line.watch())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.loop.run, [after(1000)])
        await trio.sleep(1)
        with trio.move_on_after(0):
            await made.loop.challenge(made.watch)
        assert await made.loop.challenge(made.watch) is Sign.SILENT
        assert len(line.pings) == 1
        nursery.cancel_scope.cancel()


# -- what proves nothing ---------------------------------------------------------------------------


async def test_a_leg_that_we_do_not_read_from(autojump_clock: MockClock) -> None:
    line = Line()
    assert await Challenged(line, line.watch()).challenge() == [Sign.UNCLEAR]
    assert line.pings == []


async def test_reading_that_stops_meanwhile(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def stop() -> SessionEnd:
        await trio.sleep(3)
        line.activity.reading_since = None
        return await forever()

    assert await Challenged(line, line.watch(), stop).challenge() == [Sign.UNCLEAR]


async def test_reading_that_paused_meanwhile(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def pause() -> SessionEnd:
        await trio.sleep(3)
        line.reads()
        return await forever()

    assert await Challenged(line, line.watch(), pause).challenge() == [Sign.UNCLEAR]


@pytest.mark.parametrize("begins", [0.5, 3.0])
async def test_a_send_that_waits(begins: float, autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def send() -> SessionEnd:
        await trio.sleep(begins)
        await line.send(takes=100)
        return await forever()

    assert await Challenged(line, line.watch(), send).challenge() == [Sign.UNCLEAR]


@pytest.mark.parametrize(("size", "sign"), [(4096, Sign.SILENT), (4097, Sign.UNCLEAR)])
async def test_much_that_a_slow_line_may_still_carry(
    size: int, sign: Sign, autojump_clock: MockClock
) -> None:
    """It is in a proxy; that the peer has sent something since then proves nothing."""
    line = Line()
    line.reads()
    made = Challenged(line, line.watch())
    line.sends(size, acknowledged=size)
    line.hears()
    assert await made.challenge() == [sign]


async def test_what_stood_before_an_answered_ping_has_arrived(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch()
    line.sends(100_000, acknowledged=100_000)

    async def pong() -> SessionEnd:
        await line.asked.wait()
        line.hears()
        watch.receive_pong(line.pings[0][1])
        return await forever()

    assert await Challenged(line, watch, pong).challenge(at=30) == [Sign.SILENT]


async def test_a_busy_session_behind_a_proxy(autojump_clock: MockClock) -> None:
    """The proxy takes all. Both have talked until the way behind it was cut."""
    line = Line()
    line.reads()
    watch = line.watch()

    async def talk() -> SessionEnd:
        for _ in range(59):
            await trio.sleep(5)
            line.sends(500, acknowledged=500)
            line.activity.sent_at = trio.current_time()
            line.hears()
        return await forever()

    async def pong() -> SessionEnd:
        while True:
            await line.asked.wait()
            line.asked = trio.Event()
            if trio.current_time() < 300:
                line.hears()
                watch.receive_pong(line.pings[-1][1])

    assert await Challenged(line, watch, talk, pong).challenge(at=300) == [Sign.SILENT]


async def test_a_way_on_which_nothing_is_acknowledged(autojump_clock: MockClock) -> None:
    """However much is under way: not a byte of it gets through."""
    line = Line()
    line.reads()
    made = Challenged(line, line.watch())
    line.sends(100_000)
    assert await made.challenge(at=0.5) == [Sign.SILENT]


async def test_the_burst_of_a_beginning_is_soon_known_to_be_read(
    autojump_clock: MockClock,
) -> None:
    """Classes for a new agent, more than would let its silence prove anything: it is asked soon,
    with each look twice as late as the one before, and only while there is more to ask about.
    """
    line = Line()
    watch = line.watch()

    async def live() -> SessionEnd:
        """Answer each ping at once; more classes come until 3 s, and freeze at 9 s."""
        done = 0
        while trio.current_time() < 9:
            await trio.sleep(0.1)
            if trio.current_time() < 3:
                line.sends(5000, acknowledged=5000)
            if len(line.pings) > done:
                done = len(line.pings)
                line.hears()
                assert watch.receive_pong(line.pings[-1][1])
        return await forever()

    line.reads()
    line.sends(5000, acknowledged=5000)
    assert await Challenged(line, watch, live).challenge(at=9.5) == [Sign.SILENT]
    assert trio.current_time() == pytest.approx(14.5)
    assert [round(at, 1) for at, _ in line.pings] == [1.0, 2.0, 4.0, 9.5]


@pytest.mark.parametrize("side", [Side.CLIENT, Side.CONTROLLER])
async def test_nobody_but_an_agent_is_asked_so_soon(side: Side, autojump_clock: MockClock) -> None:
    """Whom nobody challenges: there is nothing to know so early."""
    line = Line()
    watch = LegWatch(side, cast("Stream", line), LIMITS, send_ping=line.ping)
    line.reads()
    line.sends(5000, acknowledged=5000)
    with trio.move_on_after(LIMITS.interval * 0.8):
        await Challenged(line, watch).loop.run([forever])
    assert line.pings == []


async def test_a_peer_whose_window_is_shut(autojump_clock: MockClock) -> None:
    """A proxy in front of a slow line: it lives, and takes nothing for now."""
    line = Line()
    line.reads()
    made = Challenged(line, line.watch())
    line.sends(100_000)
    line.unsent = 100_000
    assert await made.challenge() == [Sign.UNCLEAR]


async def test_a_line_that_still_acknowledges(autojump_clock: MockClock) -> None:
    """So slow that not even 4 KiB are through, or only after packets were lost."""
    line = Line()
    line.reads()

    async def drain() -> SessionEnd:
        while line.unacknowledged:
            await trio.sleep(1)
            line.unacknowledged -= 1000
        return await forever()

    made = Challenged(line, line.watch(), drain)
    line.sends(4000)
    assert await made.challenge() == [Sign.UNCLEAR]
    assert line.unacknowledged == 0


async def test_the_time_counts_from_when_the_ping_was_sent(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    pinged_at = 0.0

    async def ping(payload: bytes) -> None:
        nonlocal pinged_at
        await trio.sleep(4)  # for its turn behind others
        pinged_at = trio.current_time()

    async def answer() -> SessionEnd:
        await trio.sleep(9)
        line.hears()
        return await forever()

    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=waiting(ping))
    assert await Challenged(line, watch, answer).challenge() == [Sign.ALIVE]
    assert pinged_at == pytest.approx(5)


async def test_a_peer_that_always_takes_long(autojump_clock: MockClock) -> None:
    line = Line()
    watch = line.watch()

    async def pong() -> SessionEnd:
        await line.asked.wait()
        await trio.sleep(2.6)
        line.hears()
        watch.receive_pong(line.pings[0][1])
        return await forever()

    line.reads()
    signs = await Challenged(line, watch, pong).challenge(at=30)
    assert watch.round_trip == pytest.approx(2.6)
    assert signs == [Sign.UNCLEAR]


async def test_a_ping_that_waits_for_its_turn(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch()
    watch.mute()  # the other leg stopped in the middle of a frame
    assert await Challenged(line, watch).challenge() == [Sign.UNCLEAR]


async def test_a_session_that_is_over(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    loop = SessionLoop([watch := line.watch()])
    assert await loop.challenge(watch) is Sign.UNCLEAR, "it has not begun"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run, [after(1000)])
        await trio.sleep(1)
        nursery.start_soon(_end_later, loop)
        assert loop.is_running
        assert await loop.challenge(watch) is Sign.UNCLEAR
        assert not loop.is_running
    assert trio.current_time() < 4
    assert await loop.challenge(watch) is Sign.UNCLEAR


async def _end_later(loop: SessionLoop) -> None:
    await trio.sleep(2)
    loop.end(DONE)
