"""Tests of ``gateway.runtime.admission``."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.errors import LimitExceeded
from gateway.runtime.admission import (
    HANDSHAKE_WAIT,
    ConnectionPlaces,
    HandshakePlaces,
    counted_sites,
)


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
            async with self._places.place():
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
    async with places.place():
        with pytest.raises(LimitExceeded, match="handshake budget"):
            async with places.place():
                raise AssertionError("there was no place")
        assert trio.current_time() == HANDSHAKE_WAIT
    async with places.place():  # the one that waited in vain holds nothing
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
    async with places.place():
        with pytest.raises(LimitExceeded, match="queue is full"):
            async with places.place():
                raise AssertionError("there was no place")
    async with places.place():
        pass


@pytest.mark.parametrize("end", ["error", "cancelled"])
async def test_a_place_is_given_back_whatever_happens(end: str) -> None:
    places = HandshakePlaces(1)
    for _ in range(3):
        with trio.CancelScope() as scope:
            try:
                async with places.place():
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


def test_connections_are_counted() -> None:
    places = ConnectionPlaces(2, per_address=2)
    with places.place("192.0.2.1"), places.place("192.0.2.2"):
        assert places.held == 2
        with pytest.raises(LimitExceeded, match="2 connections are open"):
            places.place("192.0.2.3").__enter__()
        assert places.held == 2
    assert places.held == 0
    with pytest.raises(LookupError), places.place("192.0.2.1"):
        raise LookupError
    assert places.held == 0


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2", "fe81::1"),
    ],
)
def test_an_address_gets_so_many_and_no_more(one: str, same: str, other: str) -> None:
    places = ConnectionPlaces(10, per_address=2)
    with places.place(one), places.place(same):
        with pytest.raises(LimitExceeded, match="connections_per_address"):
            places.place(one).__enter__()
        with places.place(other):
            assert places.held == 3
    # What was given back can be had again, and nothing is left behind.
    with places.place(one), places.place(same):
        assert places.held == 2


def test_proxies_in_front_and_unix_peers_may_have_all_but_no_more() -> None:
    places = ConnectionPlaces(4, per_address=1, is_exempt="10.0.0.1".__eq__)
    with (
        places.place("10.0.0.1"),
        places.place("10.0.0.1"),
        places.place("unix"),
        places.place("unix"),
        pytest.raises(LimitExceeded, match=r"4 connections are open \(limits.connections\)"),
    ):
        places.place("10.0.0.1").__enter__()
    assert places.held == 0


def test_who_counts_as_which_address() -> None:
    site = counted_sites(lambda host: host == "10.0.0.1")
    for _ in range(2):  # also when it is remembered
        assert site("192.0.2.1") == site("::ffff:192.0.2.1") == "192.0.2.1"
        assert site("2001:db8::1") == site("2001:db8::ffff:1") != site("2001:db8:0:1::1")
        assert site("10.0.0.1") is site("unix") is None
