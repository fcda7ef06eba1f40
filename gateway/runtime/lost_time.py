"""Time that this process has not lived through: it was stopped, or busy with one thing.

Owns: a beat, once a second while it matters, and how late it came. SIGSTOP, a paused machine, a
long garbage collection: afterwards every deadline is over at once, and what peers have answered
meanwhile lies unread in the kernel, or is still on its way. Such time is no peer's silence.

Must not know: whose silence is measured, or for what.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import trio

from gateway.transport.per_loop import one_per_loop

# Seconds from one look at the clock to the next, and by which a look is noticeably late.
BEAT: Final = 1.0
LATE: Final = 1.0
# Freezes that are remembered: each is longer than a second, and no limit on silence longer than
# ten minutes.
_MOST: Final = 600
# Turns of the event loop in which everybody who waits for bytes gets those that are there: one to
# ask the kernel, one for those who are woken last, one to spare.
_TURNS: Final = 3


class Waiting(Protocol):
    """Somebody whose wait for a peer must not count lost time."""

    @property
    def is_waiting(self) -> bool:
        """Whether it still waits."""
        ...


class LostTime:
    """The freezes of one event loop. Its task runs while somebody waits."""

    __slots__ = ("_beating", "_due", "_freezes", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Waiting] = set()
        self._beating = False
        self._due = 0.0
        self._freezes: deque[tuple[float, float]] = deque(maxlen=_MOST)  # from, until

    def attend(self, waiting: Waiting) -> None:
        """Have freezes noticed while ``waiting`` waits."""
        self._waiting.add(waiting)
        if not self._beating:
            self._beating = True
            self._due = trio.current_time() + BEAT
            trio.lowlevel.spawn_system_task(self._beat)

    def leave(self, waiting: Waiting) -> None:
        """Forget somebody who waits no more."""
        self._waiting.discard(waiting)

    def woken(self, due: float) -> None:
        """Note that a look at the clock, now, was ``due``: freezes are noticed by that, too."""
        now = trio.current_time()
        if now > due + LATE:
            self._note(due, now)

    def since(self, moment: float) -> float:
        """Return how many seconds of those since ``moment`` (trio's clock) do not count."""
        # After a freeze nobody knows who runs first: whoever looks at the clock finds it.
        self._look()
        lost = 0.0
        for begun, ended in reversed(self._freezes):
            if ended <= moment:
                break
            lost += ended - max(begun, moment)
        return lost

    async def _beat(self) -> None:
        while self._waiting:
            await trio.sleep_until(self._due)
            self._look()
            self._due = trio.current_time() + BEAT
            self._waiting = {each for each in self._waiting if each.is_waiting}
        self._beating = False

    def _look(self) -> None:
        if not self._beating:
            return
        now = trio.current_time()
        if now > self._due + LATE:
            # It began at some time after the last beat; in doubt for the peer.
            self._note(self._due - BEAT, now)
            self._due = now + BEAT

    def _note(self, begun: float, ended: float) -> None:
        """Remember a freeze; several may have found the same one."""
        while self._freezes and self._freezes[-1][1] >= begun:
            other = self._freezes.pop()
            begun, ended = min(begun, other[0]), max(ended, other[1])
        self._freezes.append((begun, ended))


# The one of this event loop.
current_lost_time: Final = one_per_loop("lost time", LostTime)


async def let_readers_run() -> None:
    """Return when everybody who waits for bytes has had those that have arrived by now."""
    for _ in range(_TURNS):
        await trio.lowlevel.checkpoint()
