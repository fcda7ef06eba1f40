"""How a worker ends.

Owns: the order of steps after the word to stop or to linger, and its limits in time.

Must not know: who gives the word, what a session or a connection is.

*Stop*: every answer is its connection's last, sessions end with 1012 over ``spread`` seconds, and
what is left at ``timeout`` is cut. Once whoever waited in a backlog is let in (``accepted``),
connections without a request are closed, and no agent is let in.
*Linger* (another worker accepts in this one's place): nobody is cut short. Connections leave with
their next answer or by their own idle timeout, sessions and requests go on until they end, and
after ``timeout`` it is as *stop*. A later word replaces an earlier one: less patience can follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from gateway.agents.registry import Registry
from gateway.errors import Draining
from gateway.observability.logs import get_logger
from gateway.runtime.admission import ConnectionPlaces
from gateway.runtime.drain import Drain
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import CLOSE_TIMEOUT

_log = get_logger("system")

# Of a stop that says nothing about it, and when the supervisor is gone: sessions need 5 s to close
# in order.
STOP_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Stop:
    """End everything. Seconds; ``timeout`` may be infinite."""

    spread: float = 0.0
    timeout: float = STOP_TIMEOUT

    @property
    def usable_spread(self) -> float:
        """The part of ``spread`` after which the last session still has time to close in order."""
        return max(0.0, min(self.spread, self.timeout - CLOSE_TIMEOUT))


@dataclass(frozen=True, slots=True)
class Linger:
    """Keep what there is for ``timeout`` seconds, and then do as ``then`` says."""

    timeout: float
    then: Stop


class Ending:
    """The end of one worker, from the first word on."""

    def __init__(self, drain: Drain, registry: Registry, places: ConnectionPlaces) -> None:
        self._drain = drain
        self._registry = registry
        self._places = places
        self._order: Stop | Linger = Stop()
        self._following = trio.CancelScope()
        self.begun = trio.Event()
        self.accepted = trio.Event()  # whoever waited in a backlog has been let in

    @property
    def is_lingering(self) -> bool:
        """Say whether others accept in this worker's place, so that nobody who waits is left."""
        return isinstance(self._order, Linger)

    def give(self, order: Stop | Linger) -> None:
        """Give the word. Lingering is over once stopping has begun, and cannot begin again."""
        if isinstance(order, Linger) and self.begun.is_set() and isinstance(self._order, Stop):
            return
        self._order = order
        self.begun.set()
        self._following.cancel()

    async def carry_out(self, connections: trio.CancelScope) -> None:
        """Follow the word, and each later one, until cancelled. ``connections`` may be cut."""
        while True:
            with trio.CancelScope() as self._following:
                if isinstance(self._order, Linger):
                    await self._linger(self._order)
                else:
                    await self._stop(self._order, connections)
                    await trio.sleep_forever()

    async def _linger(self, order: Linger) -> None:
        self._drain.leave()
        _log.info("worker is lingering", **self._left(), timeout_s=order.timeout)
        await trio.sleep(order.timeout)
        self._order = order.then

    async def _stop(self, order: Stop, connections: trio.CancelScope) -> None:
        connections.deadline = trio.current_time() + order.timeout
        self._drain.leave()
        _log.info(
            "worker is stopping",
            **self._left(),
            spread_s=order.usable_spread,
            timeout_s=None if math.isinf(order.timeout) else order.timeout,
        )
        end = SessionEnd.of(Side.GATEWAY, Draining())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._registry.end_all, end, spread=order.usable_spread))
            # Whoever waited in a backlog has asked for something, and is answered.
            await self.accepted.wait()
            self._drain.begin()

    def _left(self) -> dict[str, int]:
        return {"sessions": len(self._registry), "connections": self._places.held}
