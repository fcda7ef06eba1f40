"""The log level of a gateway that runs, for as long as somebody wants another one.

Owns: which level that is and when it goes back by itself. A restart or an upgrade ends it, too.

Must not know: how workers are told, what is logged.
"""

from __future__ import annotations

import math
import time

import trio

from gateway.observability.logs import get_logger, levels, override_level

_log = get_logger("system")


class LogLevel:
    """``level``: the one that an operator wants; None: as configured."""

    def __init__(self) -> None:
        self.level: str | None = None
        self._until: float | None = None  # Unix time, for people
        self._deadline = math.inf
        self._changed = trio.Event()

    @property
    def in_force(self) -> str:
        """The level in force."""
        return levels()["system"]

    @property
    def until(self) -> float | None:
        """When it goes back by itself, Unix time; None: it does not."""
        return self._until

    def put(self, level: str | None, *, within: float | None = None) -> None:
        """Log from ``level`` on, as configured after ``within`` seconds. None: now."""
        self.level = level
        wanted = None if self.level is None else within
        self._until = None if wanted is None else time.time() + wanted
        self._deadline = math.inf if wanted is None else trio.current_time() + wanted
        override_level(level)
        self._changed.set()

    async def run(self) -> None:
        """Go back in time, until cancelled."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._deadline):
                await self._changed.wait()
                continue
            self.put(None)
            _log.info("log level is as before", level=self.in_force)
