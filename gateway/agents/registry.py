"""Which sessions live in this worker.

Owns: the set that shutdown walks over, bit by bit. An entry is its own remover.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from gateway.runtime.session_end import Endable, SessionEnd
from gateway.runtime.session_loop import Sign
from gateway.runtime.session_view import SessionView


class NodeSession(Endable, Protocol):
    """An agent's session, bridged or relayed."""

    started_at: float

    @property
    def suspect(self) -> bool:
        """Whether the agent has not answered a ping in time."""
        ...

    @property
    def is_running(self) -> bool:
        """Say whether nothing has ended it; its legs may still be being closed otherwise."""
        ...

    async def challenge(self) -> Sign:
        """Ask the agent to show within 5 s that it lives."""

    def view(self) -> SessionView:
        """Return what is known of it now."""
        ...


@dataclass(frozen=True, slots=True)
class Takeover:
    """A node went from one address to another; ``at`` is Unix time."""

    at: float
    loser: str
    winner: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A live session of an agent: whose it is, from where and since when (Unix time).

    ``cookie`` is what the controller gave the agent, and not part of the repr. ``takeovers`` are
    the last ones of the node: they go from session to session, so that every worker has them.
    """

    session: NodeSession
    id: str
    controller: str
    node: str
    client: str
    since: float = 0.0
    cookie: str | None = field(default=None, repr=False)
    takeovers: tuple[Takeover, ...] = ()


class Registry:
    """Live sessions, by identity: a node may have two for the moment in which one replaces the
    other. WebSockets that are not agents' are among them.
    """

    def __init__(self) -> None:
        self._sessions: dict[Endable, Entry | None] = {}
        self._nodes: dict[tuple[str, str], dict[Endable, Entry]] = {}
        self._end: SessionEnd | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Endable]:
        return iter(tuple(self._sessions))

    @contextmanager
    def register(self, session: Endable, entry: Entry | None = None) -> Iterator[None]:
        """Hold an entry for ``session``, with ``entry`` if it is an agent's; once ``end_all`` has
        begun it is ended as it comes.
        """
        self._sessions[session] = entry
        if entry is not None:
            self._nodes.setdefault((entry.controller, entry.node), {})[session] = entry
        if self._end is not None:  # its 101 was on the way when the others were ended
            session.end(self._end)
        try:
            yield
        finally:
            del self._sessions[session]
            if entry is not None:
                of_node = self._nodes[entry.controller, entry.node]
                del of_node[session]
                if not of_node:
                    del self._nodes[entry.controller, entry.node]

    async def end_all(self, end: SessionEnd, *, spread: float = 0.0) -> None:
        """End every live session with ``end``, one after another over ``spread`` seconds.

        Each has a moment of its own by chance within its part of that time, so that neither the
        agents of one site nor those of several gateways come back together. Sessions that are
        still to come are ended as they come. May be cancelled, and called again with less time.
        """
        self._end = end
        sessions = list(self._sessions)
        random.shuffle(sessions)
        began = trio.current_time()
        for i, session in enumerate(sessions):
            await trio.sleep_until(began + spread * (i + random.random()) / len(sessions))
            session.end(end)  # nothing to one that has ended by itself

    def entries(self) -> list[Entry]:
        """Return the sessions of agents, those included that are being closed."""
        return [entry for entry in self._sessions.values() if entry is not None]

    def find(self, controller: str, node: str) -> Entry | None:
        """Return the live session of a node, the newest if there are two, or None.

        One that is over, and only its legs are still being closed, is none any more.
        """
        found = [
            entry
            for entry in self._nodes.get((controller, node), {}).values()
            if entry.session.is_running
        ]
        return max(found, key=lambda entry: entry.session.started_at, default=None)
