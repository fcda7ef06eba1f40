"""Time that this process has not lived through: it was stopped, or busy with one thing.

Owns: a beat, once a second, and how late it came. SIGSTOP, a paused machine, a long garbage
collection: afterwards every deadline is over at once, and what peers have answered meanwhile lies
unread in the kernel, or is still on its way. Such time is no peer's silence.

Must not know: whose silence is measured, or for what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

# Seconds from one look at the clock to the next, and by which a look is noticeably late.
BEAT: Final = 1.0
LATE: Final = 1.0
# Freezes that are remembered: each is longer than a second, and no limit on silence longer than
# ten minutes.
_MOST: Final = 600
# Turns of the event loop in which everybody who waits for bytes gets those that are there: one to
# ask the kernel, one for those who are woken last, one to spare.
_TURNS: Final = 3


class LostTime:
    """The freezes of one event loop. Its task runs while somebody is attending."""

    __slots__ = ("_attending", "_beating", "_due", "_freezes")

    def __init__(self) -> None:
        self._attending = 0
        self._beating = False
        self._due = 0.0
        self._freezes: deque[tuple[float, float]] = deque(maxlen=_MOST)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Have freezes noticed inside of the ``with``."""
        self._attending += 1
        if not self._beating:
            self._beating = True
            self._due = trio.current_time() + BEAT
            trio.lowlevel.spawn_system_task(self._beat)
        try:
            yield
        finally:
            self._attending -= 1

    def since(self, moment: float) -> float:
        """Return how many seconds of those since ``moment`` (trio's clock) do not count."""
        # After a freeze nobody knows who runs first: whoever looks at the clock finds it.
        self._look()
        lost = 0.0
        for ended, length in reversed(self._freezes):
            if ended <= moment:
                break
            lost += min(length, ended - moment)
        return lost

    async def _beat(self) -> None:
        while self._attending:
            await trio.sleep_until(self._due)
            self._look()
            self._due = trio.current_time() + BEAT
        self._beating = False

    def _look(self) -> None:
        if not self._beating:
            return
        now = trio.current_time()
        if now > self._due + LATE:
            # It began at some time after the last beat; in doubt for the peer.
            self._freezes.append((now, now - self._due + BEAT))
            self._due = now + BEAT


_current: Final = trio.lowlevel.RunVar[LostTime]("lost time")


def current_lost_time() -> LostTime:
    """Return the one of this event loop."""
    try:
        return _current.get()
    except LookupError:
        lost_time = LostTime()
        _current.set(lost_time)
        return lost_time


async def let_readers_run() -> None:
    """Return when everybody who waits for bytes has had those that have arrived by now."""
    for _ in range(_TURNS):
        await trio.lowlevel.checkpoint()
