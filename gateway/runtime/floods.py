"""One line for many of the same: what a flood of strangers may write into the log.

Owns: how often an event is told that anybody can bring about as often as they like and that costs
them nothing.

Must not know: which events those are.
"""

from __future__ import annotations

from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

# Seconds from one line to the next.
INTERVAL: Final = 10.0


class FloodLog:
    """Warns of the first event at once, and of all that follow once an interval, with a count."""

    def __init__(
        self, log: FilteringBoundLogger, event: str, *, interval: float = INTERVAL
    ) -> None:
        self._log = log
        self._event = event
        self._interval = interval
        self._told = trio.Event()  # an interval has begun
        self._more = 0
        self._last: dict[str, object] = {}

    def tell(self, **fields: object) -> None:
        """Log the event, or count it; of those that are counted the fields of the last are shown.

        Without ``run`` in some task only the first is ever logged.
        """
        if self._told.is_set():
            self._more += 1
            self._last = fields
            return
        self._told.set()
        self._log.warning(self._event, **fields)

    async def run(self) -> None:
        """Log what was counted at the end of each interval, until cancelled, and then."""
        try:
            while True:
                await self._told.wait()
                await trio.sleep(self._interval)
                if not self._sum_up():
                    self._told = trio.Event()
        finally:
            self._sum_up()

    def _sum_up(self) -> bool:
        count, self._more = self._more, 0
        if count:
            self._log.warning(self._event, **self._last, count=count)
        return count > 0
