"""What time it is, for what begins and ends at a time of day.

Owns: that a clock which is set back gives nothing back that had ended by the clock as it was at the
start: within one process, time is never behind that plus the monotonic clock. Set forward, the
clock is believed at once, and again when that is put right: then time does go back, that far.

Must not know: what ends.

A process that starts again believes the clock. That is why a revocation is a state and not a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Now = Callable[[], float]


def earliest(*times: float | None) -> float | None:
    """Return the first of ``times``, None where there is none; None in it is never."""
    return min((each for each in times if each is not None), default=None)


class SteadyClock:
    """Seconds since the epoch, never behind the time at the start plus what has passed since."""

    __slots__ = ("_monotonic", "_offset", "_wall")

    def __init__(self, wall: Now = time.time, monotonic: Now = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        """Return the time: the wall clock's, or what it would be had nobody set it back."""
        return max(self._wall(), self._monotonic() + self._offset)
