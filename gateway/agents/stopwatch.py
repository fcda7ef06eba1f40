"""How long the phases of an agent's handshake take.

Owns: that each phase lasts from the end of the one before, and what becomes of one that is not
finished: nothing, since an error says more.

Must not know: what is done in a phase.
"""

from __future__ import annotations

import trio

from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import PHASE_DURATION


class Stopwatch:
    """One handshake's. Starts when it is made."""

    __slots__ = ("_began", "_controller", "_meters")

    def __init__(self, meters: Meters, controller: str) -> None:
        self._meters = meters
        self._controller = controller
        self._began = trio.current_time()

    def restart(self) -> None:
        """Leave out what has passed since the last phase: a pause between two attempts."""
        self._began = trio.current_time()

    def lap(self, phase: str) -> None:
        """Note that a phase is finished, and the next one begins."""
        now = trio.current_time()
        self._meters.observe(PHASE_DURATION, now - self._began, self._controller, phase)
        self._began = now
