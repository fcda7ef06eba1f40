"""What operators have set besides the configuration, on its way to every worker.

Owns: who has been told what, and telling again those that were late or are new.

Must not know: what is set, how it is set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from gateway.server.children import Child, State
from gateway.server.control import Message

# How often it is seen whether every worker has it, seconds.
AGAIN: Final = 2.0


class SettingsSpread:
    """Keeps all workers at what ``settings`` returns."""

    def __init__(
        self, children: Callable[[], Sequence[Child]], settings: Callable[[], Message]
    ) -> None:
        self._children = children
        self._settings = settings
        self._spreading = trio.Lock()

    async def now(self) -> list[int]:
        """Have every worker take them; return the process ids of those that did not in time.

        They are told again once they have said something.
        """
        late: list[int] = []

        async def tell(child: Child) -> None:
            settings = self._settings()
            if child.settings == settings or child.state is State.STARTING:
                return
            answer = None if child.is_silent else await child.ask("settings", settings=settings)
            if answer is not None:
                child.settings = settings
            else:
                late.append(child.process.pid)

        async with self._spreading, trio.open_nursery() as nursery:
            for child in self._children():
                nursery.start_soon(tell, child)
        return sorted(late)

    async def keep(self) -> None:
        """Tell workers that were late, and those that are new, until cancelled."""
        while True:
            await trio.sleep(AGAIN)
            await self.now()
