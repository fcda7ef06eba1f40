"""Work that may hang (files on a server that is away), beside the event loop.

Owns: the one thread that does it, so that whatever hangs is bounded, and that no signal finds that
thread: the supervisor holds signals back in its main thread while its program is replaced.

Must not know: what the work is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

# Files are read in milliseconds. On a file system that hangs nothing helps but its return.
LIMIT: Final = 30.0


class Aside:
    """One thread at a time. What hangs keeps it; whoever comes meanwhile waits within his limit."""

    def __init__(self) -> None:
        self._place = trio.CapacityLimiter(1)

    async def run(self, work: Callable[[], T], *, limit: float = LIMIT) -> T:
        """Return what ``work`` does. Raises TimeoutError after ``limit`` seconds, and its errors.

        May be cancelled. Work that was given up goes on without an effect, until it ends by itself.
        """

        def held_back() -> T:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return work()

        with trio.move_on_after(limit):
            return await trio.to_thread.run_sync(
                held_back, abandon_on_cancel=True, limiter=self._place
            )
        raise TimeoutError(f"not done within {limit:g} s")
