"""What operators can do to a gateway that runs: the same for control socket and admin listener.

Owns: the operations, and that each has an end: whoever asks workers gets an answer within the time
of a worker's, without those that did not give one (``partial``, ``missing_workers``).

Must not know: how a question arrived, how an answer is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.server.control import Message
from gateway.server.fleet import Fleet
from gateway.server.reloader import Reloader
from gateway.server.stopping import Stopping


class Operations:
    """The operations of one supervisor."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        reloader: Reloader,
        stopping: Stopping,
        status: Callable[[], Awaitable[Message]],
    ) -> None:
        self._fleet = fleet
        self.reloader = reloader
        self.stopping = stopping
        self.status = status

    @property
    def fleet(self) -> Fleet:
        """The workers."""
        return self._fleet()
