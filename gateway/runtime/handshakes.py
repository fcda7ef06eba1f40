"""Whose turn it is to do a handshake with a controller: so many at a time, so many a second.

Owns: the line in front of one controller, places in it that are reserved, and the pace.

Must not know: HTTP, what a handshake is, how many controllers there are.

Theory of operation. All who want a handshake stand in one line and hold a number. An agent asks
twice: ``/login`` draws a number on its behalf (``reserve``) while it is still absent, and
``/wsagents/`` (``place``) steps into line with it; who never asked draws one then. The turn goes to
the lowest number that is *present*, whenever the bucket holds a token and a place is free. So
nobody waits for the absent, no token is spent on them, and nobody is passed by anyone who came
later than his first question.

A number is given only if it falls within ``wait`` seconds, everybody before it counted, and of the
absent as many as are expected to come (``expected``). So whoever was told 200 waits no longer than
that, however many others come meanwhile.

One address may be all of a site, and so have all of the line; while others are turned away, it can
hold half of it at most.

Which agent asked is not said at ``/login``; all that both questions have in common is the client's
address, so numbers are kept by address and the oldest is taken first.

With several workers the second question may reach another one than the first. What one misses
another has too much of, so there a number is anybody's and only says how many will come; who is
there first goes first. Fewer are told to come than may stand in line, and a line that is too long
moves faster: another one is shorter. How uneven the lines are is chance, and so goes with the
square root of how many turns one has within ``wait``.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from gateway.config.networks import site_of
from gateway.errors import Draining, LimitExceeded
from gateway.runtime.drain import Drain
from gateway.runtime.expected import Expected

# Waiting longer than this for a turn leaves too little of the 25 s that a handshake has.
HANDSHAKE_WAIT: Final = 10.0
# Who would have to wait behind this many others is told at once.
HANDSHAKE_QUEUE: Final = 2048
# Unused tokens are kept for so long: agents that need a moment to come do not slow the line down.
BURST: Final = 1.0
# With several workers, in parts of the square root of a line: how much longer than usual it may be,
# and how much of it is kept free for that. By simulation: tests/agents/test_storm.
_LONGER: Final = 4.0
_FREE: Final = 0.6
_SLACK: Final = 0.5  # seconds
# Whoever was turned away asks again within 10 s, and until then counts as waiting.
_ASKS_AGAIN: Final = 11.0
# How much one handshake's duration counts in the average that the pace is judged by.
_WEIGHT: Final = 1 / 8


class Handshakes:
    """The handshake budgets of all controllers. They live on through reloads."""

    def __init__(
        self, drain: Drain, *, turned_away: Callable[[str], None] = lambda controller: None
    ) -> None:
        """Once ``drain`` has begun, nobody waits any more.

        ``turned_away`` is told the controller of each agent that is to come later.
        """
        self._drain = drain
        self._turned_away = turned_away
        self._by_name: dict[str, HandshakePlaces] = {}

    def change(self, names: Iterable[str], places: int, *, rate: float, workers: int) -> None:
        """Have a budget for each of ``names`` and no others, all with these limits.

        Who is in line for a controller that is gone keeps his turn.
        """
        known, self._by_name = self._by_name, {}
        for name in names:
            line = known.get(name)
            if line is None:
                line = HandshakePlaces(
                    places,
                    rate=rate,
                    workers=workers,
                    drain=self._drain,
                    turned_away=partial(self._turned_away, name),
                )
            else:
                line.change(places, rate=rate, workers=workers)
            self._by_name[name] = line

    def __iter__(self) -> Iterator[tuple[str, HandshakePlaces]]:
        return iter(self._by_name.items())

    def of(self, name: str) -> HandshakePlaces:
        """Return the budget of a controller.

        One that a reload has just removed has a budget of one for each request that still came.
        """
        line = self._by_name.get(name)
        return HandshakePlaces(1, drain=self._drain) if line is None else line


class _Waiter:
    """Somebody in line who is present. The lowest number is first."""

    __slots__ = ("came", "deadline", "gone", "number", "scope", "turn")

    def __init__(self, number: int, came: int, deadline: float) -> None:
        self.number = number
        self.came = came  # how many came before
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
        turned_away: Callable[[], None] = lambda: None,
    ) -> None:
        """``places`` at a time and ``rate`` a second, which ``workers`` share evenly.

        ``turned_away`` is told of each agent that is to come later.
        """
        self._drain = Drain() if drain is None else drain
        self._tell_turned_away = turned_away
        self._wait = wait
        self._queue = queue
        self._busy = 0
        self._typical = 0.0  # seconds that a handshake takes
        self._moved_at = -math.inf  # the last time that a place was taken or given back
        self._next_at = -math.inf  # when the next token is there
        self._numbers = 0
        self._line: list[_Waiter] = []  # a heap; may hold some who are gone
        self._present = 0
        self._came = 0
        self._pressed: deque[_Waiter] = deque()  # of those behind each, it is late the soonest
        self._expected = Expected()
        self._turned_away: OrderedDict[str, float] = OrderedDict()  # the last two sites, and when
        self.change(places, rate=rate, workers=workers)

    def change(self, places: int, *, rate: float, workers: int = 1) -> None:
        """Set other limits; who is in line stays there."""
        self._places = max(1, math.ceil(places / workers))
        self._gap = workers / rate
        self._credit = max(0.0, BURST - self._gap)
        self._is_one_of_several = workers > 1
        chance = math.sqrt(self._gap / self._wait) if workers > 1 else 0.0
        self._longer = 1 + _LONGER * chance
        self._reservable = max(0.5, 1 - _FREE * chance)
        self._set_alarm()

    def __len__(self) -> int:
        return self._present + self._expected.count

    @property
    def places(self) -> int:
        """How many handshakes there may be at a time."""
        return self._places

    @property
    def busy(self) -> int:
        """How many handshakes are under way."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return self._present

    @property
    def expected(self) -> int:
        """How many hold a number and are expected to come for it."""
        self._expected.forget(trio.current_time())
        return self._expected.count

    # -- asking ------------------------------------------------------------------------------------

    def reserve(self, host: str) -> None:
        """Draw a number for an agent at ``host`` that will come for it.

        Raises LimitExceeded if its turn would be too far away.
        """
        now = trio.current_time()
        self._expected.forget(now)
        site = site_of(host) or host
        self._check_length(now, self._wait * self._reservable, site)
        held = self._expected.held_by(site)
        if held >= max(1, self._most() // (2 if self._has_turned_away_others(site, now) else 1)):
            self._tell_turned_away()
            raise LimitExceeded(detail=f"{held} agents of {site} were expected already")
        self._expected.add(self._draw(), site, now)

    @asynccontextmanager
    async def place(self, host: str) -> AsyncIterator[None]:
        """Hold a place, in its turn, for an agent at ``host``.

        Raises LimitExceeded after ``wait`` seconds, or at once if the line is too long, and
        Draining when the gateway stops meanwhile.
        """
        began = trio.current_time()
        self._expected.forget(began)
        site = site_of(host) or host
        number = self._expected.claim(site, began)
        if number is None and self._is_one_of_several:
            number = self._expected.claim_any(began)
        if number is None and (self._present or not self._may_go(began)):
            self._check_length(began, self._wait * self._longer, site)
        if number is None or self._is_one_of_several:
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

    def _draw(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- the length of the line --------------------------------------------------------------------

    def _check_length(self, now: float, patience: float, site: str) -> None:
        if len(self) >= self._queue and not (self._may_go(now) and not len(self)):
            self._turn_away(site, now)
            raise LimitExceeded(detail="the controller's handshake queue is full")
        turn = self._turn(now)
        if turn - now > patience:
            self._turn_away(site, now)
            raise LimitExceeded(
                detail=f"{len(self)} agents are in line for the controller, the next one's turn"
                f" would be in {turn - now:.0f} s (agents.handshake_rate)"
            )

    def _turn_away(self, site: str, now: float) -> None:
        """Remember it. Of two there is always one that is somebody else."""
        self._tell_turned_away()
        self._turned_away[site] = now
        self._turned_away.move_to_end(site)
        if len(self._turned_away) > 2:
            self._turned_away.popitem(last=False)

    def _has_turned_away_others(self, site: str, now: float) -> bool:
        return any(
            other != site and now < at + _ASKS_AGAIN for other, at in self._turned_away.items()
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
        waiter = _Waiter(number, self._came, deadline)
        self._came += 1
        heapq.heappush(self._line, waiter)
        self._present += 1
        if self._is_one_of_several:
            self._press(waiter)
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
            self._drop_gone()
            gap = self._gap / self._longer if self._is_late(now) else self._gap
            self._next_at = max(self._next_at, now - self._credit) + gap
        self._set_alarm()

    def _press(self, waiter: _Waiter) -> None:
        """Have ``_is_late`` look at somebody who came last."""
        slack = waiter.deadline - waiter.came * self._gap
        while self._pressed and self._pressed[-1].deadline - self._pressed[-1].came * self._gap >= (
            slack
        ):
            self._pressed.pop()
        self._pressed.append(waiter)

    def _is_late(self, now: float) -> bool:
        """Say whether somebody would have no turn in time. Whoever came first is first here."""
        while self._pressed and (not self._line or self._pressed[0].came < self._line[0].came):
            self._pressed.popleft()
        if not self._pressed:
            return False
        pressed = self._pressed[0]
        before = pressed.came - self._line[0].came
        return now + (before + 1) * self._gap > pressed.deadline - _SLACK

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
