"""The page follows what happens: server-sent events (HTML Living Standard 9.2).

Owns: how often the gateway is looked at, that one look serves all viewers, how many may look, and
what each is sent: whatever changed since the last time.

Must not know: HTTP, where snapshots come from.

There is no queue. A viewer is sent the difference between what it was sent last and what is now; if
it reads slowly it skips what was in between, and memory is bounded by what it shows. Nobody looking
costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from gateway.server.admin.page.query import View
from gateway.server.admin.page.render import PARTS, Frame, Renderer, version_of
from gateway.server.admin.page.values import Snapshot

# Between two looks, seconds.
INTERVAL: Final = 2.0
MOST_VIEWERS: Final = 32
# The longest silence on a connection, seconds; proxies on the way cut what is silent for 30 or 60.
HEARTBEAT: Final = 15.0
# How soon a browser comes back, seconds.
RETRY: Final = 3.0
# A page of more rows than this is looked at less often, by this factor: a browser has to work, too.
_MANY: Final = 500
_SLOWER: Final = 5
# A viewer's longest stream, seconds; it comes back, and who it is is asked again.
LONGEST: Final = 3600.0
# What a viewer may take to read what it is sent, seconds.
PATIENCE: Final = 30.0


class TooManyViewers(Exception):
    """As many watch as may."""


class Looks:
    """Looks at the gateway: at most one at a time, and not again while the last one is fresh."""

    def __init__(
        self,
        source: Callable[[], Awaitable[Snapshot]],
        renderer: Renderer,
        *,
        interval: float = INTERVAL,
        most_viewers: int = MOST_VIEWERS,
    ) -> None:
        self.interval = interval
        self.viewers = 0
        self._source = source
        self._renderer = renderer
        self.most_viewers = most_viewers
        self._looking = trio.Lock()
        self._frame: Frame | None = None
        self._looked_at = 0.0

    async def frame(self, *, fresh: float | None = None) -> Frame:
        """Return how things are, as of ``fresh`` seconds ago at most; default: half an interval."""
        allowed = self.interval / 2 if fresh is None else fresh
        async with self._looking:
            now = trio.current_time()
            if self._frame is None or now - self._looked_at > allowed:
                self._frame = Frame(await self._source(), self._renderer)
                self._looked_at = trio.current_time()
            return self._frame

    def forget(self) -> None:
        """Look again for whoever comes next: something was done."""
        self._frame = None

    @contextmanager
    def watching(self, view: View) -> Iterator[Viewer]:
        """Hold a viewer's place. Raises TooManyViewers."""
        if self.viewers >= self.most_viewers:
            raise TooManyViewers
        self.viewers += 1
        try:
            yield Viewer(self, view, self._renderer.assets)
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._frame = None  # thousands of rows, which nobody looks at


class Viewer:
    """One open page, and what it was sent."""

    def __init__(self, looks: Looks, view: View, assets: str) -> None:
        self._looks = looks
        self._view = view
        self._assets = assets
        self._interval = looks.interval * (_SLOWER if view.size > _MANY else 1)
        self._ends_at = trio.current_time() + LONGEST
        self._looks_at = trio.current_time()
        self._sent_at = -1.0
        self._parts: dict[str, object] = {}
        self._count: str | None = None
        self._order: list[str] | None = None
        self._rows: dict[str, str] = {}

    async def next(self) -> bytes | None:
        """Return the next events, once there are any; None when the stream is to end."""
        while True:
            if trio.current_time() >= self._ends_at:
                return None
            await trio.sleep_until(self._looks_at)
            frame = await self._looks.frame()
            self._looks_at = trio.current_time() + self._interval
            events = await self._events(frame)
            now = trio.current_time()
            if events or now - self._sent_at >= HEARTBEAT - self._interval:
                if self._sent_at < 0:
                    events.insert(0, f"retry: {RETRY * 1000:.0f}\n\n".encode())
                self._sent_at = now
                events.append(event("now", {"now": frame.snapshot.at, "assets": self._assets}))
                return b"".join(events)

    async def _events(self, frame: Frame) -> list[bytes]:
        events = []
        for part in PARTS:
            shown = frame.shown_in(part)
            if part not in self._parts or self._parts[part] != shown:
                self._parts[part] = shown
                events.append(event("part", {"id": part, "html": frame.part(part)}))
        page = frame.select(self._view)
        count = frame.count(page, self._view)
        if count != self._count:
            self._count = count
            events.append(event("part", {"id": "count", "html": count}))
        order = [row.id for row in page.rows]
        versions = {row.id: version_of(row) for row in page.rows}
        changed = [row for row in page.rows if self._rows.get(row.id) != versions[row.id]]
        if changed or order != self._order:
            rows = [
                [row.id, versions[row.id], html]
                for row, html in zip(changed, await frame.rows(changed), strict=True)
            ]
            # Only if it changed: of 5,000 rows it is 100 KB.
            moved = order if order != self._order else None
            self._order, self._rows = order, versions
            events.append(event("sessions", {"order": moved, "rows": rows, "total": page.total}))
        return events


def event(kind: str, data: object) -> bytes:
    """Return a server-sent event with ``data`` as JSON, which has no line ends."""
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode("ascii")
