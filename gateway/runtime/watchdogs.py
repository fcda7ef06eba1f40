"""One timer for the watchdogs of all sessions of an event loop.

Owns: when each is looked at. A task of its own for each session would cost it 6 KiB, and a timer of
its own a cancel scope and an exception per look.

Must not know: what is looked for.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Final, Protocol

import trio

from gateway.runtime.lost_time import current_lost_time
from gateway.transport.per_loop import one_per_loop

# What is due so soon after something else is looked at together with it, seconds: thousands of
# sessions then cost twenty wake-ups a second, and a ping leaves so much before its time.
TOGETHER: Final = 0.05
# Looks in one turn of the event loop; after a freeze all are due at once.
_A_TURN: Final = 256


class Watched(Protocol):
    """Somebody who is to be looked at."""

    def look(self, now: float) -> float:
        """Look after it, on trio's clock; return when to do so again, infinite for never. Raises
        nothing: it runs in the task that looks after all.
        """
        ...


class Entry:
    """One who is watched, until ``leave``."""

    __slots__ = ("watched",)

    def __init__(self, watched: Watched) -> None:
        self.watched: Watched | None = watched

    def leave(self) -> None:
        """Have it looked at no more. Its place is given up when its time comes."""
        self.watched = None


class Watchdogs:
    """All who are watched in one event loop. A task looks after them while there are any."""

    __slots__ = ("_entries", "_numbers", "_scope", "_watching")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Entry]] = []  # a heap of who is due, in order
        self._numbers = count()
        self._watching = False
        self._scope: trio.CancelScope | None = None  # of the wait under way

    def add(self, watched: Watched) -> Entry:
        """Look at ``watched`` now, and again whenever it says so."""
        entry = Entry(watched)
        due = watched.look(trio.current_time())
        if due == math.inf:
            return entry
        heapq.heappush(self._entries, (due, next(self._numbers), entry))
        if not self._watching:
            self._watching = True
            trio.lowlevel.spawn_system_task(self._watch)
        elif self._scope is not None and due < self._scope.deadline:
            self._scope.deadline = due
        return entry

    async def _watch(self) -> None:
        lost_time = current_lost_time()
        entries = self._entries
        while entries:
            began = trio.current_time()  # what was due before that has waited for us alone
            with trio.CancelScope(deadline=entries[0][0]) as self._scope:
                await trio.sleep_forever()
            lost_time.woken(max(began, self._scope.deadline))
            self._scope = None
            await self._look_together()
        self._watching = False

    async def _look_together(self) -> None:
        entries = self._entries
        now = trio.current_time()
        looked = 0
        again: list[tuple[float, int, Entry]] = []
        while entries and entries[0][0] <= now + TOGETHER:
            _, number, entry = heapq.heappop(entries)
            if entry.watched is None:
                continue
            looked += 1
            due = entry.watched.look(now)
            if due < math.inf:
                again.append((due, number, entry))
            if looked % _A_TURN == 0:
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
        for each in again:
            heapq.heappush(entries, each)


# Those of this event loop.
current_watchdogs: Final = one_per_loop("watchdogs", Watchdogs)
