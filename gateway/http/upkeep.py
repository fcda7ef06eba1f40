"""Looking after the ways to controllers, each for as long as a configuration in force has it.

Owns: one task for each way, started and ended by reloads.

Must not know: what there is to look after (``upstream``), who changes the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from gateway.http.upstream import Upstream


class Upkeep:
    """The upkeep of a changing set of upstreams."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._wanted = set(upstreams)
        self._running: dict[Upstream, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Look after them until cancelled; then, and when one is dropped, close its connections."""
        async with trio.open_nursery() as self._nursery:
            self.change(self._wanted)
            await trio.sleep_forever()

    def change(self, upstreams: Iterable[Upstream]) -> None:
        """Look after these from now on, and no others."""
        self._wanted = set(upstreams)
        if self._nursery is None:
            return
        for upstream in self._running.keys() - self._wanted:
            self._running.pop(upstream).cancel()
        for upstream in self._wanted - self._running.keys():
            scope = self._running[upstream] = trio.CancelScope()
            self._nursery.start_soon(_look_after, upstream, scope)


async def _look_after(upstream: Upstream, scope: trio.CancelScope) -> None:
    with scope:
        await upstream.run()
