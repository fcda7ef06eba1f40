"""Deadlines of receives, for those who set three of them a request and hardly ever need one.

Owns: looking, every half second, which streams have waited for too long.

Must not know: what a stream is, why somebody waits, what happens then.

A ``trio.CancelScope`` with a deadline is exact, and three of them were a fifth of the CPU time of a
small request (0.258 ms with them, 0.208 without). A receive that is on a list may end half a second
late. What must be exact, or ends more than one receive, still wants a scope.
"""

from __future__ import annotations

from typing import Final, Protocol

import trio

from gateway.transport.per_loop import one_per_loop

# Seconds by which a receive may end late.
RESOLUTION: Final = 0.5


class Waiting(Protocol):
    """Somebody who waits, until a time on trio's clock."""

    until: float

    def interrupt(self) -> None:
        """End the wait."""
        ...


class Patience:
    """Everybody who waits in one event loop. A task looks after them while there are any."""

    __slots__ = ("_looking", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Waiting] = set()
        self._looking = False

    def add(self, waiting: Waiting) -> None:
        """Interrupt ``waiting`` when its time has come, unless it is discarded before."""
        self._waiting.add(waiting)
        if not self._looking:
            self._looking = True
            trio.lowlevel.spawn_system_task(self._look)

    def discard(self, waiting: Waiting) -> None:
        """Forget somebody who waits no more."""
        self._waiting.discard(waiting)

    async def _look(self) -> None:
        while self._waiting:
            await trio.sleep(RESOLUTION)
            now = trio.current_time()
            for waiting in [each for each in self._waiting if each.until <= now]:
                waiting.interrupt()
                del waiting  # until the next look it would live on here
        self._looking = False


# The one of this event loop.
current_patience: Final = one_per_loop("patience", Patience)
