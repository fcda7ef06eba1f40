"""One controller's line: places, pace, and numbers drawn before their time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.errors import Draining, LimitExceeded
from gateway.runtime.drain import Drain
from gateway.runtime.expected import RESERVED
from gateway.runtime.handshakes import (
    HANDSHAKE_QUEUE,
    HANDSHAKE_WAIT,
    HandshakePlaces,
    Handshakes,
)

HOST = "192.0.2.1"


class Crowd:
    """Holders of places, who keep them until told, and those who got none."""

    def __init__(self, places: HandshakePlaces, nursery: trio.Nursery) -> None:
        self.inside: list[int] = []
        self.turned_away: list[tuple[int, float, str]] = []
        self._places = places
        self._nursery = nursery
        self._leave: dict[int, trio.Event] = {}

    async def come(self, who: int) -> None:
        """Ask for a place, and have the answer or wait for it when this returns."""
        self._leave[who] = trio.Event()
        self._nursery.start_soon(self._ask, who)
        await wait_all_tasks_blocked()

    async def leave(self, who: int) -> None:
        self._leave[who].set()
        await wait_all_tasks_blocked()

    async def _ask(self, who: int) -> None:
        try:
            async with self._places.place(HOST):
                self.inside.append(who)
                await self._leave[who].wait()
                self.inside.remove(who)
        except LimitExceeded as error:
            self.turned_away.append((who, trio.current_time(), error.detail))


async def test_so_many_at_once_and_no_more(mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(HandshakePlaces(2), nursery)
        for who in range(5):
            await crowd.come(who)
        assert crowd.inside == [0, 1]
        await crowd.leave(1)
        assert crowd.inside == [0, 2]
        await crowd.leave(0)
        assert crowd.inside == [2, 3]
        assert crowd.turned_away == []
        nursery.cancel_scope.cancel()


async def test_who_waits_too_long_is_turned_away(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(1)
    async with places.place(HOST):
        with pytest.raises(LimitExceeded, match="handshake budget"):
            async with places.place(HOST):
                raise AssertionError("there was no place")
        assert trio.current_time() == HANDSHAKE_WAIT
    async with places.place(HOST):  # the one that waited in vain holds nothing
        pass


async def test_who_would_wait_behind_too_many_is_told_at_once(mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(HandshakePlaces(1, queue=2), nursery)
        for who in range(4):
            await crowd.come(who)
        assert crowd.inside == [0]
        assert crowd.turned_away == [(3, 0.0, "the controller's handshake queue is full")]
        await crowd.leave(0)
        await crowd.come(4)
        assert crowd.inside == [1]
        assert len(crowd.turned_away) == 1
        nursery.cancel_scope.cancel()


async def test_without_a_queue_there_are_still_places() -> None:
    places = HandshakePlaces(1, queue=0)
    async with places.place(HOST):
        with pytest.raises(LimitExceeded, match="queue is full"):
            async with places.place(HOST):
                raise AssertionError("there was no place")
    async with places.place(HOST):
        pass


@pytest.mark.parametrize("end", ["error", "cancelled"])
async def test_a_place_is_given_back_whatever_happens(end: str) -> None:
    places = HandshakePlaces(1)
    for _ in range(3):
        with trio.CancelScope() as scope:
            try:
                async with places.place(HOST):
                    if end == "error":
                        raise LookupError
                    scope.cancel()
                    await trio.sleep_forever()
            except LookupError:
                pass


async def test_who_is_cancelled_while_waiting_holds_nothing(mock_clock: MockClock) -> None:
    places = HandshakePlaces(1)
    async with trio.open_nursery() as nursery:
        crowd = Crowd(places, nursery)
        await crowd.come(0)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                impatient = Crowd(places, waiting)
                await impatient.come(1)
                scope.cancel()
        await crowd.leave(0)
        await crowd.come(2)
        assert crowd.inside == [2]
        nursery.cancel_scope.cancel()


# -- the pace --------------------------------------------------------------------------------------


class Turns:
    """Agents that ask for a turn and give it back at once; when each had it."""

    def __init__(self, places: HandshakePlaces, nursery: trio.Nursery) -> None:
        self.at: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self._places = places
        self._nursery = nursery

    async def come(self, name: str, host: str = HOST) -> None:
        self._nursery.start_soon(self._take, name, host)
        await wait_all_tasks_blocked()

    async def _take(self, name: str, host: str) -> None:
        try:
            async with self._places.place(host):
                self.at[name] = trio.current_time()
        except LimitExceeded:
            self.refused[name] = trio.current_time()


@asynccontextmanager
async def turns(places: HandshakePlaces) -> AsyncIterator[Turns]:
    async with trio.open_nursery() as nursery:
        yield Turns(places, nursery)


def exhaust(places: HandshakePlaces, count: int, host: str = HOST) -> int:
    """Reserve up to ``count`` numbers; return how many there were."""
    for given in range(count):
        try:
            places.reserve(host)
        except LimitExceeded:
            return given
    return count


async def test_a_burst_and_then_so_many_a_second(autojump_clock: MockClock) -> None:
    """A second's worth at once after a rest, then one each gap."""
    async with turns(HandshakePlaces(64, rate=4)) as found:
        for i in range(8):
            await found.come(str(i))
    assert list(found.at.values()) == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1.0]


async def test_who_would_wait_more_than_ten_seconds_is_told_at_once(
    autojump_clock: MockClock,
) -> None:
    async with turns(HandshakePlaces(64, rate=1)) as found:
        for i in range(14):
            await found.come(str(i))
    assert found.refused == {str(i): 0.0 for i in (11, 12, 13)}
    assert found.at["10"] == HANDSHAKE_WAIT


async def test_several_workers_share_places_and_pace(autojump_clock: MockClock) -> None:
    async with turns(HandshakePlaces(64, rate=4, workers=4)) as found:
        for i in range(3):
            await found.come(str(i))
    assert list(found.at.values()) == [0, 1, 2]
    async with trio.open_nursery() as nursery:
        crowd = Crowd(HandshakePlaces(3, workers=2), nursery)
        for who in range(3):
            await crowd.come(who)
        assert crowd.inside == [0, 1]
        nursery.cancel_scope.cancel()


async def test_a_slow_controller_sets_the_pace_by_itself(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(2, rate=100)
    assert exhaust(places, 5000, "192.0.2.8") == 1000  # what 10 s hold
    for _ in range(50):
        async with places.place("192.0.2.9"):
            await trio.sleep(4)
    await trio.sleep(RESERVED)
    # Two at a time, 4 s each: turns now and after 2, 4, 6, 8 and 10 s.
    assert sum(exhaust(places, 1, f"192.0.2.{i}") for i in range(1, 8)) == 6


async def test_nobody_is_told_to_come_while_everything_hangs(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(1, rate=100)
    async with places.place("192.0.2.9"):
        await trio.sleep(1)
        assert exhaust(places, 1) == 1
        await trio.sleep(10)
        assert exhaust(places, 1) == 0
        assert places.retry_after() >= 1
    assert exhaust(places, 1) == 1


async def test_other_limits_take_effect_at_once(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(64, rate=1)
    async with turns(places) as found:
        for i in range(4):
            await found.come(str(i))
        places.change(64, rate=1000)
    assert list(found.at.values()) == pytest.approx([0, 1, 1.001, 1.002])


# -- numbers ---------------------------------------------------------------------------------------


async def test_a_reserved_turn_comes_before_those_who_came_later(
    autojump_clock: MockClock,
) -> None:
    places = HandshakePlaces(64, rate=1)
    async with turns(places) as found:
        await found.come("first")
        places.reserve("192.0.2.7")
        await found.come("later")
        await found.come("reserved", "192.0.2.7")
    assert found.at == {"first": 0, "reserved": 1, "later": 2}


async def test_nobody_waits_for_the_absent_and_no_turn_is_lost_to_them(
    autojump_clock: MockClock,
) -> None:
    places = HandshakePlaces(64, rate=1)
    for i in range(8):
        places.reserve(f"192.0.2.{i}")
    async with turns(places) as found:
        await found.come("a")
        await found.come("b")
    assert found.at == {"a": 0, "b": 1}


async def test_as_many_are_expected_as_have_a_turn_within_ten_seconds() -> None:
    places = HandshakePlaces(64, rate=50)
    given = sum(exhaust(places, 100, f"192.0.2.{i}") for i in range(20))
    assert given == len(places) == 550  # 10 s, and the second's worth that may go at once
    assert places.retry_after() == 1


async def test_whoever_has_a_number_has_a_turn_whatever_comes_meanwhile(
    autojump_clock: MockClock,
) -> None:
    """All who were told 200 come as late as they may, after a flood of others."""
    places = HandshakePlaces(64, rate=5)
    sites = [f"192.0.{i}.1" for i in range(60)]
    sites = [site for site in sites if exhaust(places, 1, site)]
    assert len(sites) == 55
    async with turns(places) as found:
        for i in range(200):
            await found.come(f"other {i}", "198.51.100.1")
        await trio.sleep(RESERVED - 0.1)
        for site in sites:
            await found.come(site, site)
    assert set(sites) <= set(found.at)
    assert all(found.at[site] <= RESERVED + HANDSHAKE_WAIT for site in sites)


async def test_numbers_that_nobody_comes_for_are_forgotten(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(64, rate=1)
    for i in range(11):
        places.reserve(f"192.0.2.{i}")
    with pytest.raises(LimitExceeded, match="11 agents are in line"):
        places.reserve("192.0.2.99")
    await trio.sleep(RESERVED)
    places.reserve("192.0.2.99")
    assert len(places) < 11


async def test_one_address_can_have_the_whole_line_unless_others_are_turned_away(
    autojump_clock: MockClock,
) -> None:
    """A site behind one address is all of them; but nobody shuts others out for good."""
    places = HandshakePlaces(64, rate=8)
    await come(places, 20)  # what a rest had left over is used up
    for _ in range(2):  # being turned away oneself is no reason
        assert exhaust(places, 1000) == 80
        assert len(places) == 80
        await come(places, 80)
    assert exhaust(places, 1000) == 80
    assert exhaust(places, 1000, "2001:db8::1") == 0
    await come(places, 80)
    assert exhaust(places, 1000) == 40
    with pytest.raises(LimitExceeded, match=r"40 agents of 192\.0\.2\.1 were expected"):
        places.reserve(HOST)
    assert exhaust(places, 1000, "2001:db8::1") == 40
    assert exhaust(places, 1000, "2001:db8::2") == 0  # the same /64
    await come(places, 40)
    await trio.sleep(11)  # nobody else has asked in vain since
    assert exhaust(places, 1000) == 80


async def come(places: HandshakePlaces, count: int, host: str = HOST) -> None:
    """Have ``count`` agents step in line, one after the other in no time, and wait their turns."""
    async with turns(places) as found:
        for i in range(count):
            await found.come(str(i), host)
    assert len(found.at) == count


async def test_strangers_who_only_ask_shut_nobody_out_for_long(autojump_clock: MockClock) -> None:
    """Four addresses ask as fast as they can; the line would be full of them for ever."""
    places = HandshakePlaces(64, rate=50)
    told_to_wait: list[float] = []
    async with trio.open_nursery() as nursery:
        for i in range(4):
            nursery.start_soon(_ask_on, places, [f"203.0.113.{i}"])
        await _come_and_come(places, told_to_wait)
        nursery.cancel_scope.cancel()
    assert all(at <= 2 * RESERVED for at in told_to_wait)


async def test_a_new_address_for_each_question_does_not_help(autojump_clock: MockClock) -> None:
    """An IPv6 /48 has 65,536 of what counts as one address."""
    places = HandshakePlaces(64, rate=50)
    told_to_wait: list[float] = []
    async with trio.open_nursery() as nursery:
        for i in range(4):
            hosts = [f"2001:db8:{i}:{k:x}::1" for k in range(12_000)]
            nursery.start_soon(_ask_on, places, hosts)
        await _come_and_come(places, told_to_wait)
        nursery.cancel_scope.cancel()
    assert all(at <= 2 * RESERVED for at in told_to_wait)


async def _ask_on(places: HandshakePlaces, hosts: list[str]) -> None:
    for i in itertools.count():
        with suppress(LimitExceeded):
            places.reserve(hosts[i % len(hosts)])
        await trio.sleep(0.01)


async def _come_and_come(places: HandshakePlaces, told_to_wait: list[float]) -> None:
    """Ten honest agents a second, for half a minute."""
    for i in range(300):
        host = f"198.51.{i // 250}.{i % 250}"
        try:
            places.reserve(host)
        except LimitExceeded:
            told_to_wait.append(trio.current_time())
        else:
            async with places.place(host):
                pass
        await trio.sleep(0.1)


async def test_the_line_is_bounded_without_a_pace() -> None:
    places = HandshakePlaces(64)
    hosts = (f"192.0.{i // 250}.{i % 250}" for i in range(3 * HANDSHAKE_QUEUE))
    assert sum(exhaust(places, 1, host) for host in hosts) == HANDSHAKE_QUEUE


async def test_with_several_workers_a_number_is_anybodys(autojump_clock: MockClock) -> None:
    for workers, left in ((1, 1), (2, 0)):
        places = HandshakePlaces(64, rate=50, workers=workers)
        places.reserve("192.0.2.1")
        async with places.place("192.0.2.2"):
            assert len(places) == left


async def test_nobody_waits_in_a_gateway_that_stops(mock_clock: MockClock) -> None:
    drain = Drain()
    places = HandshakePlaces(1, drain=drain)
    stopped = 0

    async def wait() -> None:
        nonlocal stopped
        with pytest.raises(Draining):
            await _stand_in_line(places)
        stopped += 1

    async with places.place(HOST), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        drain.begin()
        await wait_all_tasks_blocked()
        assert stopped == 3
    assert len(places) == 0


async def test_who_leaves_the_line_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    places = HandshakePlaces(1, rate=50)
    async with places.place(HOST), trio.open_nursery() as nursery:
        for _ in range(20):
            for _ in range(40):
                nursery.start_soon(_stand_in_line, places)
            await wait_all_tasks_blocked()
            assert len(places) == 40
            nursery.cancel_scope.cancel()
            break
    assert len(places) == 0
    async with places.place(HOST):
        for _ in range(200):
            with trio.move_on_after(0.01):
                await _stand_in_line(places)
        assert len(places._line) < 20


async def _stand_in_line(places: HandshakePlaces) -> None:
    async with places.place(HOST):
        raise AssertionError("there was no place")


async def test_who_is_turned_away_is_counted(mock_clock: MockClock) -> None:
    told: list[str] = []
    lines = Handshakes(Drain(), turned_away=told.append)
    lines.change(["main", "other"], 1, rate=1.0, workers=1)
    for _ in range(30):
        with suppress(LimitExceeded):
            lines.of("main").reserve(HOST)
    line = lines.of("main")
    assert told == ["main"] * (30 - line.expected)
    assert (line.places, line.busy, line.waiting) == (1, 0, 0)
    assert 0 < line.expected < 30
    mock_clock.jump(60)
    assert line.expected == 0  # nobody came for the numbers
    assert [name for name, _ in lines] == ["main", "other"]
