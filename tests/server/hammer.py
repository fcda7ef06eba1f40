"""A client that keeps coming: a connection of its own for each request, so many a second.

Owns: that every request is accounted for, as served, with how long it took, or as failed, with why
and when.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from tests.peers.raw_client import RawClient

GET = b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# Nobody is served that slowly; a request that takes longer has failed.
PATIENCE = 20.0


@dataclass
class Hammer:
    """Requests that were made. Times are trio's."""

    port: int
    started: int = 0
    served: list[tuple[float, float]] = field(default_factory=list)  # begin, seconds
    failed: list[tuple[float, str]] = field(default_factory=list)  # begin, why

    async def _one(self) -> None:
        began = trio.current_time()
        try:
            with trio.fail_after(PATIENCE):
                async with await RawClient.connect(self.port) as client:
                    answer = await client.ask(GET)
                    assert answer.status == 404, answer
        except Exception as error:  # every way to fail counts
            self.failed.append((began, repr(error)))
        else:
            self.served.append((began, trio.current_time() - began))

    async def _run(self, rate: float, stopped: trio.Event) -> None:
        next_time = trio.current_time()
        async with trio.open_nursery() as requests:
            while not stopped.is_set():
                self.started += 1
                requests.start_soon(self._one)
                next_time += 1 / rate
                await trio.sleep_until(next_time)

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return self.started - len(self.served) - len(self.failed)

    def served_by(self, *, since: float, until: float) -> float:
        """Return when the last request that began between the two was served."""
        return max(began + took for began, took in self.served if since <= began < until)

    def is_accounted_for(self) -> bool:
        """Say whether every request was either served or has failed."""
        return self.started == len(self.served) + len(self.failed)


@asynccontextmanager
async def hammering(port: int, *, rate: float) -> AsyncIterator[Hammer]:
    """Make ``rate`` requests a second inside the block; it ends when all are done."""
    hammer, stopped = Hammer(port), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hammer._run, rate, stopped)
        try:
            yield hammer
        finally:
            stopped.set()
    assert hammer.is_accounted_for()
