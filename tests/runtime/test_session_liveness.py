"""Tests of the rules in ``gateway.runtime.session_loop``: who is pinged, suspected, given up, when.

Time is a mock clock throughout. That the loop applies them is in ``test_session_loop``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from gateway.errors import PeerLost, Stalled
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, SessionLoop
from gateway.transport.stream import Stream
from tests.runtime.line import (
    DONE,
    LIMITS,
    NEVER,
    Line,
    after,
    every,
    forever,
    send_for_ever,
    waiting,
)

EPSILON = 1e-6


# -- when to ping ----------------------------------------------------------------------------------


async def test_a_ping_follows_our_own_silence(autojump_clock: MockClock) -> None:
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


async def test_where_both_talk_what_was_read_is_asked_for(autojump_clock: MockClock) -> None:
    """Only a pong shows it; and how long the way there and back is."""
    line = Line()
    line.reads()
    watch = line.watch()

    def talk() -> None:
        line.activity.sent_at = trio.current_time()
        line.hears()
        if line.pings:
            watch.receive_pong(line.pings[-1][1])

    assert await SessionLoop([watch]).run([every(0.5, talk), after(1000)]) == DONE
    gaps = [b - a for a, b in pairwise(at for at, _ in line.pings)]
    assert min(gaps) >= 18 - EPSILON
    assert max(gaps) <= 20 + EPSILON
    assert len(gaps) > 48
    assert watch.round_trip is not None
    assert watch.round_trip <= 0.5, "the first pong counts, and not those that repeat it"


async def test_who_never_pongs_is_not_asked_more_often(autojump_clock: MockClock) -> None:
    """Whose pong is late on a slow line must be able to answer the ping that was asked."""
    line = Line()
    line.reads()

    async def talk() -> SessionEnd:
        for _ in range(100):
            await trio.sleep(5)
            line.sends(1000, acknowledged=1000)
            await line.send()
            line.hears()
        return DONE

    assert await SessionLoop([line.watch()]).run([talk]) == DONE
    assert len(line.pings) == 1


async def test_a_silent_peer_is_pinged_though_we_send(autojump_clock: MockClock) -> None:
    """One that only downloads has nothing else to show that it lives; one ping, then patience."""
    line = Line()
    line.reads()
    await SessionLoop([line.watch()]).run([every(5, line.send), after(59)])
    assert len(line.pings) == 1
    assert 18 - EPSILON <= line.pings[0][0] <= 20 + EPSILON


async def test_a_peer_that_only_downloads_lives(autojump_clock: MockClock) -> None:
    line = Line(answers=0.2)
    pumps = [every(5, line.send), line.answer, after(3600)]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    assert 3600 / 21 < len(line.pings) < 3600 / 18 + 1


async def test_a_ping_gets_its_turn_between_sends_that_never_pause(
    autojump_clock: MockClock,
) -> None:
    """However busy we are, a peer that is to show life must be asked for it."""
    line = Line(answers=0.2)

    async def download() -> SessionEnd:
        while True:
            await line.send(takes=0.04)

    pumps = [download, line.answer, after(200)]
    assert await SessionLoop([line.watch()]).run(pumps) == DONE
    times = [0.0, *(at for at, _ in line.pings)]
    assert max(b - a for a, b in pairwise(times)) < 21


async def test_pings_are_told_apart(autojump_clock: MockClock) -> None:
    line = Line(answers=0.1)
    await SessionLoop([line.watch()]).run([line.answer, after(200)])
    payloads = [payload for _, payload in line.pings]
    assert len(set(payloads)) == len(payloads) > 5
    assert all(1 <= len(payload) <= 125 for payload in payloads)


async def test_a_leg_without_pings_is_not_pinged(autojump_clock: MockClock) -> None:
    """JNLP4 has none, and a controller may be silent for hours."""
    line = Line()
    line.reads()
    assert await SessionLoop([line.watch(NEVER, pings=False)]).run([after(86400.0)]) == DONE
    assert line.pings == []


# -- who is suspect, who is lost -------------------------------------------------------------------


@pytest.mark.parametrize("we_send", [False, True])
async def test_a_silent_peer_is_suspect_within_40_s_and_lost_at_60(
    autojump_clock: MockClock, we_send: bool
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


async def test_a_byte_clears_suspicion(autojump_clock: MockClock) -> None:
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


async def test_silence_counts_from_the_last_byte(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def pump() -> SessionEnd:
        await trio.sleep(45)
        line.hears()
        return await forever()

    end = await SessionLoop([line.watch()]).run([pump])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(105)


async def test_silence_that_we_cannot_hear_does_not_count(autojump_clock: MockClock) -> None:
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


async def test_a_suspect_that_we_stop_hearing_is_no_suspect(autojump_clock: MockClock) -> None:
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


async def test_limits_are_configured(autojump_clock: MockClock) -> None:
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


async def test_a_send_without_progress_ends_the_session(autojump_clock: MockClock) -> None:
    line = Line(answers=0.1)

    async def pump() -> SessionEnd:
        await trio.sleep(100)
        await line.send(takes=10_000)
        raise AssertionError

    end = await SessionLoop([line.watch(NEVER, pings=False)]).run([pump, line.answer])
    assert isinstance(end.error, Stalled)
    assert trio.current_time() == pytest.approx(400)
    assert "300 s" in end.reason


async def test_a_send_with_progress_may_take_for_ever(autojump_clock: MockClock) -> None:
    line = Line()
    watch = line.watch(NEVER, pings=False)

    async def pump() -> SessionEnd:
        await line.send(takes=10_000, moves_every=299)
        return DONE

    assert await SessionLoop([watch]).run([pump]) == DONE


async def test_progress_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    """A peer behind a slow line that takes our bytes, its own answers far behind them."""
    line = Line()
    line.reads()

    async def pump() -> SessionEnd:
        await line.send(takes=1000, moves_every=50)
        return await forever()

    end = await SessionLoop([line.watch()]).run([pump])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(1060)


async def test_a_silent_peer_that_takes_nothing_is_lost_at_60(autojump_clock: MockClock) -> None:
    """The ping waits behind the send, and nobody waits for the ping."""
    line = Line()
    watch = line.watch()
    line.reads()
    end = await SessionLoop([watch]).run([lambda: send_for_ever(line)])
    assert isinstance(end.error, PeerLost)
    assert trio.current_time() == pytest.approx(60)
    assert line.pings == []


async def test_a_talking_peer_that_takes_nothing_is_stalled_at_300(
    autojump_clock: MockClock,
) -> None:
    """It uploads, so it lives; that it takes nothing for minutes is Jenkins' own limit."""
    line = Line()
    line.reads()
    pumps = [lambda: send_for_ever(line), every(1, line.hears)]
    end = await SessionLoop([line.watch()]).run(pumps)
    assert isinstance(end.error, Stalled)
    assert trio.current_time() == pytest.approx(300)


async def test_a_ping_that_is_not_taken_is_a_send_like_any_other(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()

    async def ping(payload: bytes) -> None:
        await send_for_ever(line)

    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=waiting(ping))
    end = await SessionLoop([watch]).run([every(1, line.hears)])
    assert isinstance(end.error, Stalled)
    assert 318 <= trio.current_time() <= 320 + EPSILON


async def test_a_ping_that_cannot_be_sent_ends_the_session(autojump_clock: MockClock) -> None:
    line = Line()
    line.broken = "connection reset by peer"
    line.reads()
    end = await SessionLoop([line.watch()]).run([forever])
    assert isinstance(end.error, PeerLost)
    assert "connection reset by peer" in end.reason
    assert 18 <= trio.current_time() <= 20


# -- pongs -----------------------------------------------------------------------------------------


async def test_round_trip(autojump_clock: MockClock) -> None:
    line = Line()
    told: list[float] = []
    watch = line.watch(told=told.append)
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
    assert told == pytest.approx([0.25, 0.5])


async def test_foreign_pongs_say_nothing(autojump_clock: MockClock) -> None:
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


# -- legs that others' frames keep from being asked ------------------------------------------------


async def test_who_cannot_be_asked_is_not_lost(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch()
    watch.mute()
    assert await SessionLoop([watch]).run([after(100_000)]) == DONE


async def test_who_cannot_be_asked_and_owes_something_has_five_minutes(
    autojump_clock: MockClock,
) -> None:
    line = Line()
    line.reads()
    watch = LegWatch(
        Side.AGENT, cast("Stream", line), LIMITS, send_ping=line.ping, owes=lambda: True
    )
    watch.mute()
    end = await SessionLoop([watch]).run([forever])
    assert trio.current_time() == pytest.approx(300)
    assert isinstance(end.error, PeerLost)
    assert end.reason == "no byte for 300 s, in the middle of a frame"


async def test_a_ping_counts_from_when_it_was_sent(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = LegWatch(Side.AGENT, cast("Stream", line), LIMITS, send_ping=lambda payload: None)
    assert watch.start_ping(trio.current_time()) is None
    watch.mute()
    await trio.sleep(100)
    watch.unmute()
    await trio.sleep(0.5)
    assert watch.receive_pong(b"rgw1")
    assert watch.round_trip == pytest.approx(0.5)


async def test_who_was_asked_late_has_all_its_time_from_then(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch()
    suspect_at: list[float] = []

    async def late() -> SessionEnd:
        watch.mute()
        await trio.sleep(100)
        assert not watch.suspect
        watch.unmute()
        for _ in range(600):
            await trio.sleep(0.1)
            if watch.suspect:
                suspect_at.append(trio.current_time())
        return await forever()

    await SessionLoop([watch]).run([late])
    assert 120 <= suspect_at[0] < 121
    assert trio.current_time() == pytest.approx(160)


async def test_whose_pong_it_is(autojump_clock: MockClock) -> None:
    """Also a late one, and none of another session's."""
    line = Line(answers=0.5)
    stream = cast("Stream", line)
    watch = LegWatch(Side.AGENT, stream, LIMITS, send_ping=line.ping, mark=b"rgwab-")
    await SessionLoop([watch]).run([line.answer, after(60)])
    payloads = [payload for _, payload in line.pings]
    assert payloads[0] == b"rgwab-1"
    assert all(map(watch.owns_pong, payloads))
    for foreign in (b"", b"rgw1", b"rgwac-1", b"rgwab"):
        assert not watch.owns_pong(foreign)
