"""``Aside`` for tests in mock time, which would jump while a thread works.

Owns: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from gateway.server.aside import LIMIT, Aside

T = TypeVar("T")


class AtOnce(Aside):
    """Works in the event loop; ``hangs``: what would hang, does not begin."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False

    async def run(self, work: Callable[[], T], *, limit: float = LIMIT) -> T:
        """Return what ``work`` does."""
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep(limit)
            raise TimeoutError(f"not done within {limit:g} s")
        return work()
