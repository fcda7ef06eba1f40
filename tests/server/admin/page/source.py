"""A gateway for the status page, made up: it is what a test sets it to."""

from __future__ import annotations

from dataclasses import replace

from gateway.server.admin.page.values import NodeEvent, NodeHistory, SessionRow, Snapshot
from tests.server.admin.page import snapshots


class ScriptedSource:
    """Says what ``now`` is; a kick takes the session out of it."""

    def __init__(self, now: Snapshot | None = None) -> None:
        self.now = now or snapshots.snapshot()
        self.looks = 0
        self.kicked: list[tuple[str, str]] = []

    async def snapshot(self) -> Snapshot:
        self.looks += 1
        return self.now

    async def kick(self, session: SessionRow, caller: str) -> bool:
        rest = tuple(row for row in self.now.sessions if row.id != session.id)
        was_there = len(rest) < len(self.now.sessions)
        self.now = replace(self.now, sessions=rest)
        self.kicked.append((session.id, caller))
        return was_there

    async def history(self, controller: str, node: str) -> NodeHistory:
        if not node.startswith("build"):
            return NodeHistory(())
        details = (("reason", "the agent closed its connection"), ("client", "192.0.2.7:1"))
        return NodeHistory((NodeEvent(snapshots.NOW, "ended", controller, details),), (4101,))

    def change(self, number: int, **changes: object) -> None:
        """Change one session."""
        rows = list(self.now.sessions)
        rows[number] = replace(rows[number], **changes)  # type: ignore[arg-type]
        self.now = replace(self.now, sessions=tuple(rows))
