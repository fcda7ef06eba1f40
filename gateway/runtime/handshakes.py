"""Whose turn it is to do a handshake with a controller: so many at a time, so many a second.

Owns: the line in front of one controller, places in it that are reserved, and the pace.

Must not know: HTTP, what a handshake is, how many controllers there are.

Theory of operation. All who want a handshake stand in one line and hold a number. An agent asks
twice: ``/login`` draws a number on its behalf (``reserve``) while it is still absent, and
``/wsagents/`` (``place``) steps into line with it; who never asked draws one then. The turn goes to
the lowest number that is *present*, whenever the bucket holds a token and a place is free. So
nobody waits for the absent, no token is spent on them, and nobody is passed by anyone who came
later than his first question.

A number is given only if it falls within ``wait`` seconds, everybody before it counted, the absent
too. So whoever was told 200 waits no longer than that, however many others come meanwhile.
Numbers of the absent are forgotten after RESERVED, and one address can hold half of the line at
most: strangers may ask, too.

Which agent asked is not said at ``/login``; all that both questions have in common is the client's
address, so numbers are kept by address and the oldest is taken first.

With several workers the second question may reach another one than the first. What one misses
another has too much of, so there a number is anybody's, somewhat more may stand in line than were
told to come, and a line that is too long moves as much faster: another one is shorter.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import trio

from gateway.errors import Draining, LimitExceeded
from gateway.runtime.admission import site_of
from gateway.runtime.drain import Drain

# Waiting longer than this for a turn leaves too little of the 25 s that a handshake has.
HANDSHAKE_WAIT: Final = 10.0
# Who would have to wait behind this many others is told at once.
HANDSHAKE_QUEUE: Final = 2048
# agent.jar upgrades right after its 200; slow machines take a second or two for TLS and classes.
RESERVED: Final = 5.0
# Unused tokens are kept for so long: agents that need a moment to come do not slow the line down.
BURST: Final = 1.0
# With several workers: how uneven the kernel's distribution may make their lines, and what is left
# of each for that. By simulation: tests/agents/test_storm.
_UNEVEN: Final = 1.25
_RESERVABLE: Final = 0.9
_SLACK: Final = 0.5  # seconds
# How much one handshake's duration counts in the average that the pace is judged by.
_WEIGHT: Final = 1 / 8


class Handshakes:
    """The handshake budgets of all controllers. They live on through reloads."""

    def __init__(self, drain: Drain) -> None:
        """Once ``drain`` has begun, nobody waits any more."""
        self._drain = drain
        self._by_name: dict[str, HandshakePlaces] = {}

    def change(self, names: Iterable[str], places: int, *, rate: float, workers: int) -> None:
        """Have a budget for each of ``names`` and no others, all with these limits.

        Who is in line for a controller that is gone keeps his turn.
        """
        known, self._by_name = self._by_name, {}
        for name in names:
            line = known.get(name)
            if line is None:
                line = HandshakePlaces(places, rate=rate, workers=workers, drain=self._drain)
            else:
                line.change(places, rate=rate, workers=workers)
            self._by_name[name] = line

    def of(self, name: str) -> HandshakePlaces:
        """Return the budget of a controller.

        One that a reload has just removed has a budget of one for each request that still came.
        """
        line = self._by_name.get(name)
        return HandshakePlaces(1, drain=self._drain) if line is None else line


class _Waiter:
    """Somebody in line who is present. The lowest number is first."""

    __slots__ = ("deadline", "gone", "number", "scope", "turn")

    def __init__(self, number: int, deadline: float) -> None:
        self.number = number
        self.deadline = deadline
        self.turn = trio.Event()
        self.scope = trio.CancelScope()  # of its waiting; its deadline is when to look again
        self.gone = False

    def __lt__(self, other: _Waiter) -> bool:
        return self.number < other.number


class HandshakePlaces:
    """The handshake budget of one controller, or one worker's part of it."""

    def __init__(
        self,
        places: int,
        *,
        rate: float = math.inf,
        workers: int = 1,
        wait: float = HANDSHAKE_WAIT,
        queue: int = HANDSHAKE_QUEUE,
        drain: Drain | None = None,
    ) -> None:
        """``places`` at a time and ``rate`` a second, which ``workers`` share evenly."""
        self._drain = Drain() if drain is None else drain
        self._wait = wait
        self._queue = queue
        self._busy = 0
        self._typical = 0.0  # seconds that a handshake takes
        self._moved_at = -math.inf  # the last time that a place was taken or given back
        self._next_at = -math.inf  # when the next token is there
        self._numbers = 0
        self._line: list[_Waiter] = []  # a heap; may hold some who are gone
        self._present = 0
        self._last_deadline = -math.inf  # of all in line
        self._absent: OrderedDict[int, tuple[str, float]] = OrderedDict()  # number: site, until
        self._by_site: dict[str, deque[int]] = {}
        self.change(places, rate=rate, workers=workers)

    def change(self, places: int, *, rate: float, workers: int = 1) -> None:
        """Set other limits; who is in line stays there."""
        self._places = max(1, math.ceil(places / workers))
        self._gap = workers / rate
        self._credit = max(0.0, BURST - self._gap)
        self._is_one_of_several = workers > 1
        self._set_alarm()

    def __len__(self) -> int:
        return self._present + len(self._absent)

    # -- asking ------------------------------------------------------------------------------------

    def reserve(self, host: str) -> None:
        """Draw a number for an agent at ``host`` that will come for it.

        Raises LimitExceeded if its turn would be too far away.
        """
        now = trio.current_time()
        self._forget(now)
        self._check_length(now, self._wait * (_RESERVABLE if self._is_one_of_several else 1))
        site = site_of(host) or host
        numbers = self._by_site.get(site)
        if numbers is not None and len(numbers) >= max(1, self._most() // 2):
            raise LimitExceeded(detail=f"{len(numbers)} agents of {site} were expected already")
        if numbers is None:
            numbers = self._by_site[site] = deque()
        number = self._draw()
        numbers.append(number)
        self._absent[number] = (site, now + RESERVED)

    @asynccontextmanager
    async def place(self, host: str) -> AsyncIterator[None]:
        """Hold a place, in its turn, for an agent at ``host``.

        Raises LimitExceeded after ``wait`` seconds, or at once if the line is too long, and
        Draining when the gateway stops meanwhile.
        """
        began = trio.current_time()
        self._forget(began)
        number = self._claim(site_of(host) or host)
        if number is None:
            if not self._may_go(began) or self._present:
                self._check_length(began, self._wait * (_UNEVEN if self._is_one_of_several else 1))
            number = self._draw()
        await self._stand_in_line(number, began + self._wait)
        began = trio.current_time()
        try:
            yield
        finally:
            self._busy -= 1
            self._moved_at = trio.current_time()
            self._typical += (trio.current_time() - began - self._typical) * _WEIGHT
            self._advance()

    def retry_after(self) -> int:
        """Return in how many seconds it makes sense to ask again."""
        now = trio.current_time()
        return max(1, math.ceil(self._turn(now) - now - self._wait))

    # -- numbers -----------------------------------------------------------------------------------

    def _draw(self) -> int:
        self._numbers += 1
        return self._numbers

    def _claim(self, site: str) -> int | None:
        """Take the number that was drawn for an agent of ``site``, if there is one."""
        numbers = self._by_site.get(site)
        if numbers is not None:
            number = numbers[0]
        elif self._is_one_of_several and self._absent:
            number = next(iter(self._absent))
        else:
            return None
        self._drop(number)
        return number

    def _forget(self, now: float) -> None:
        """Take the numbers back that nobody came for."""
        while self._absent:
            number, (_, until) = next(iter(self._absent.items()))
            if now < until:
                return
            self._drop(number)

    def _drop(self, number: int) -> None:
        """Take an absent one out of the line; of its site it is the oldest."""
        site, _ = self._absent.pop(number)
        numbers = self._by_site[site]
        numbers.popleft()
        if not numbers:
            del self._by_site[site]

    # -- the length of the line --------------------------------------------------------------------

    def _check_length(self, now: float, patience: float) -> None:
        if len(self) >= self._queue and not (self._may_go(now) and not len(self)):
            raise LimitExceeded(detail="the controller's handshake queue is full")
        turn = self._turn(now)
        if turn - now > patience:
            raise LimitExceeded(
                detail=f"{len(self)} agents are in line for the controller, the next one's turn"
                f" would be in {turn - now:.0f} s (agents.handshake_rate)"
            )

    def _turn(self, now: float) -> float:
        """Return when somebody who draws a number now has a turn, as far as can be told."""
        turn = max(self._next_at, now - self._credit) + len(self) * self._pace()
        if self._busy >= self._places:
            turn += now - self._moved_at  # what has stood still will as long again
        return turn

    def _pace(self) -> float:
        """Return the seconds between two turns: a slow controller sets it by its own slowness."""
        return max(self._gap, self._typical / self._places)

    def _most(self) -> int:
        """Return how long the line can be."""
        pace = self._pace()
        return self._queue if pace <= 0 else min(self._queue, int(self._wait / pace))

    # -- turns -------------------------------------------------------------------------------------

    def _may_go(self, now: float) -> bool:
        return self._busy < self._places and now >= self._next_at

    async def _stand_in_line(self, number: int, deadline: float) -> None:
        waiter = _Waiter(number, deadline)
        heapq.heappush(self._line, waiter)
        self._present += 1
        self._last_deadline = max(self._last_deadline, deadline)
        try:
            while True:
                waiter.scope = trio.CancelScope(deadline=deadline)
                self._advance()
                if waiter.turn.is_set():
                    return
                if self._drain.begun:
                    raise Draining()
                if trio.current_time() >= deadline:
                    raise LimitExceeded(detail="no place in the controller's handshake budget")
                with self._drain.idle(), waiter.scope:
                    await waiter.turn.wait()
        except BaseException:
            if waiter.turn.is_set():
                self._busy -= 1
            else:
                waiter.gone = True
                self._present -= 1
                self._sort_out()
            self._advance()
            raise

    def _advance(self) -> None:
        """Give turns to those who are first, as far as there are places and tokens."""
        now = trio.current_time()
        self._drop_gone()
        while self._line and self._may_go(now):
            heapq.heappop(self._line).turn.set()
            self._present -= 1
            self._busy += 1
            self._moved_at = now
            gap = self._gap
            if self._is_one_of_several and now + self._present * gap > self._last_deadline - _SLACK:
                gap /= _UNEVEN
            self._next_at = max(self._next_at, now - self._credit) + gap
            self._drop_gone()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Have the first one look at the clock for all: when the next token comes."""
        if self._line and self._busy < self._places:
            first = self._line[0]
            first.scope.deadline = min(first.deadline, self._next_at)

    def _sort_out(self) -> None:
        """Let go of those who are gone, when they are many."""
        if len(self._line) > 2 * self._present + 16:
            self._line = [waiter for waiter in self._line if not waiter.gone]
            heapq.heapify(self._line)

    def _drop_gone(self) -> None:
        while self._line and self._line[0].gone:
            heapq.heappop(self._line)
