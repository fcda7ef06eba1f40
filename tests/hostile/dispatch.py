"""Many hostile scripts behind one agent port."""

from __future__ import annotations

import trio

from tests.peers.scripted_controller import Script, Visit, stay_silent


class Dispatch:
    """One script per node: a round's agents all come to the same controller, at once.

    Which node a visit is for shows in its headers only, so scripts are taken in the order of the
    agents' connections, which is one at a time.
    """

    def __init__(self) -> None:
        self.turn = trio.Lock()
        self.arrived = trio.Event()
        self._script: Script = stay_silent

    async def __call__(self, visit: Visit) -> None:
        script = self._script
        self.arrived.set()
        await script(visit)

    def expect(self, script: Script) -> None:
        """Use ``script`` for the next agent."""
        self._script = script
        self.arrived = trio.Event()
