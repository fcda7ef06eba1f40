"""Tests of ``gateway.runtime.watchdogs``: who is looked at, and when."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import trio
from trio.testing import MockClock

from gateway.runtime.watchdogs import TOGETHER, Watchdogs


class Dog:
    """Is looked at at ``moments``, and then never more."""

    def __init__(self, *moments: float) -> None:
        self.moments = list(moments)
        self.looks: list[float] = []

    def look(self, now: float) -> float:
        self.looks.append(now)
        while self.moments and self.moments[0] <= now:
            self.moments.pop(0)
        return self.moments[0] if self.moments else math.inf


async def test_each_at_its_time(autojump_clock: MockClock) -> None:
    watchdogs = Watchdogs()
    dogs = [Dog(5, 10), Dog(3, 20), Dog(7)]
    for dog in dogs:
        watchdogs.add(dog)
    await trio.sleep(30)
    assert [dog.looks for dog in dogs] == [[0, 5, 10], [0, 3, 20], [0, 7]]


async def test_a_newcomer_does_not_wait_for_those_before_it(autojump_clock: MockClock) -> None:
    watchdogs = Watchdogs()
    watchdogs.add(Dog(100))
    await trio.sleep(1)
    dog = Dog(2)
    watchdogs.add(dog)
    await trio.sleep(5)
    assert dog.looks == [1, 2]


async def test_neighbours_share_a_wake_up(autojump_clock: MockClock) -> None:
    """Each may be looked at a little early, never late."""
    watchdogs = Watchdogs()
    dogs = [Dog(1 + TOGETHER * share) for share in (0, 0.5, 0.99, 1.01)]
    for dog in dogs:
        watchdogs.add(dog)
    await trio.sleep(2)
    assert [dog.looks[1] for dog in dogs[:3]] == [1, 1, 1]
    assert dogs[3].looks[1] <= dogs[3].looks[-1] == pytest.approx(1 + TOGETHER * 1.01)


async def test_who_has_left_is_not_looked_at_and_not_kept(autojump_clock: MockClock) -> None:
    watchdogs = Watchdogs()
    dog = Dog(5)
    entry = watchdogs.add(dog)
    entry.leave()
    await trio.sleep(10)
    assert dog.looks == [0]
    kept = weakref.ref(dog)
    del dog
    gc.collect()
    assert kept() is None


async def test_all_at_once_leave_turns_to_others(autojump_clock: MockClock) -> None:
    watchdogs = Watchdogs()
    dogs = [Dog(1) for _ in range(1000)]
    for dog in dogs:
        watchdogs.add(dog)
    seen: list[int] = []

    async def others() -> None:
        await trio.sleep(1)
        while not seen or seen[-1] < 1000:
            seen.append(sum(len(dog.looks) > 1 for dog in dogs))
            await trio.lowlevel.checkpoint()

    await others()
    assert any(0 < looked < 1000 for looked in seen)


async def test_one_that_is_always_due_starves_nobody(autojump_clock: MockClock) -> None:
    class Eager(Dog):
        def look(self, now: float) -> float:
            super().look(now)
            return now

    watchdogs = Watchdogs()
    entry = watchdogs.add(Eager())
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    entry.leave()


async def test_it_rests_when_nobody_is_left_and_starts_anew(autojump_clock: MockClock) -> None:
    watchdogs = Watchdogs()
    watchdogs.add(Dog(1)).leave()
    await trio.sleep(5)
    dog = Dog(7)
    watchdogs.add(dog)
    await trio.sleep(5)
    assert dog.looks == [5, 7]
