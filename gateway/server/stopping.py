"""The word to stop: who gives it, how patient it is, and when it becomes the fleet's.

Owns: the wait in which everything is served as before (``pre_stop``), whether there is a limit, and
what a further word means. Only a second signal cuts short: the command ``drain`` may be a
container's preStop hook, and TERM follows it as a matter of course.

Must not know: which signal means what, how workers end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from gateway.observability.logs import get_logger
from gateway.server.fleet import Fleet, StopOrder
from gateway.server.service_manager import notify

_log = get_logger("system")

# A second signal that comes sooner is the same one twice: Ctrl-C and a tool that signals a group.
IMPATIENT_AFTER: Final = 1.0


class Stopping:
    """The end of one gateway. Make it in any order; ``run`` is to be running when words come."""

    def __init__(self, fleet: Callable[[], Fleet]) -> None:
        self._fleet = fleet
        self._asked = trio.Event()
        self._is_limited = False
        self._signalled: float | None = None  # when the first signal came
        self._waiting = trio.CancelScope()

    @property
    def is_asked(self) -> bool:
        """Say whether the gateway is stopping."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Wait for the word."""
        await self._asked.wait()

    async def run(self) -> None:
        """Wait for the word, serve as before for a while, and have the fleet stop."""
        await self._asked.wait()
        with self._waiting:
            await trio.sleep(self._fleet().in_force.config.shutdown.pre_stop)
        self._fleet().stop(self._order())

    def signal(self, cause: str, *, limited: bool = True) -> None:
        """Stop; at once, if this is a second signal that asks for nothing new."""
        now = trio.current_time()
        if self._signalled is None or (limited and not self._is_limited):
            self._signalled = now
            self.ask(cause, limited=limited)
        elif now - self._signalled >= IMPATIENT_AFTER:
            _log.warning("asked to stop again; cutting short", signal=cause)
            self._waiting.cancel()
            self._fleet().hurry()

    def ask(self, cause: str, *, limited: bool = True) -> None:
        """Stop; or, if that has begun without a limit, set one."""
        if not self.is_asked:
            self._asked.set()
            self._is_limited = limited
            _log.info("stopping", signal=cause)
            notify("STOPPING=1", "STATUS=stopping")
        elif limited and not self._is_limited:
            self._is_limited = True
            _log.info("stopping has a limit now", signal=cause)
            if self._fleet().is_stopping:
                self._fleet().stop(self._order())

    def _order(self) -> StopOrder:
        shutdown = self._fleet().in_force.config.shutdown
        return StopOrder(
            shutdown.drain_spread, shutdown.drain_timeout if self._is_limited else None
        )
