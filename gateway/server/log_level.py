"""The log level of a gateway that runs, for as long as somebody wants another one.

Owns: which level that is and when it goes back by itself. A restart or an upgrade ends it, too.

Must not know: how workers are told, what is logged.
"""

from __future__ import annotations

import math
import time

import trio

from gateway.observability.logs import DEFAULT_LEVEL, get_logger, set_level

_log = get_logger("system")


class LogLevel:
    """``level``: the one that an operator wants; None: as it is without him."""

    def __init__(self) -> None:
        self.level: str | None = None
        self._until: float | None = None  # Unix time, for people
        self._deadline = math.inf
        self._changed = trio.Event()

    @property
    def in_force(self) -> str:
        """The level in force."""
        return self.level or DEFAULT_LEVEL

    @property
    def until(self) -> float | None:
        """When it goes back by itself, Unix time; None: it does not."""
        return self._until

    def put(self, level: str | None, *, within: float | None = None) -> None:
        """Log from ``level`` on, as before after ``within`` seconds. None: as before, now."""
        self.level = None if level == DEFAULT_LEVEL else level
        wanted = None if self.level is None else within
        self._until = None if wanted is None else time.time() + wanted
        self._deadline = math.inf if wanted is None else trio.current_time() + wanted
        set_level(self.in_force)
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
