"""Places: how many connections there may be, and how many handshakes a controller gets at once.

Owns: the limits and the queues in front of them. A place is a context manager, so that no path
forgets to give it back.

Must not know: what a place is used for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from gateway.errors import LimitExceeded

# A JNLP4 handshake costs the controller an RSA signature and a thread; Jenkins copes with dozens at
# once.
HANDSHAKES_PER_CONTROLLER: Final = 64
# Waiting longer than this for a place leaves too little of the 25 s that a handshake has.
HANDSHAKE_WAIT: Final = 10.0
# Who would have to wait behind this many others is told at once.
HANDSHAKE_QUEUE: Final = 2048
# Descriptors: two a session. nginx's default is 512 a worker, Teleport's at scale 65,000.
CONNECTIONS: Final = 16_384


class HandshakePlaces:
    """The handshake budget of one controller."""

    def __init__(
        self,
        places: int = HANDSHAKES_PER_CONTROLLER,
        *,
        wait: float = HANDSHAKE_WAIT,
        queue: int = HANDSHAKE_QUEUE,
    ) -> None:
        self._places = trio.Semaphore(places)
        self._wait = wait
        self._queue = queue

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Raises LimitExceeded after ``wait`` seconds, or at once if the queue is
        full.
        """
        places = self._places
        if not places.value and places.statistics().tasks_waiting >= self._queue:
            raise LimitExceeded(detail="the controller's handshake queue is full")
        try:
            with trio.fail_after(self._wait):
                await self._places.acquire()
        except trio.TooSlowError:
            raise LimitExceeded(detail="no place in the controller's handshake budget") from None
        try:
            yield
        finally:
            self._places.release()


class ConnectionPlaces:
    """How many connections one worker holds at a time."""

    def __init__(self, limit: int = CONNECTIONS) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises LimitExceeded."""
        if self.held >= self._limit:
            raise LimitExceeded(detail=f"{self._limit} connections are open")
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
