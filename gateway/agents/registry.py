"""Which sessions live in this worker.

Owns: the set that shutdown walks over. An entry is its own remover.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.runtime.session_end import Endable, SessionEnd


class Registry:
    """Live sessions, by identity: a node may have two for the moment in which one replaces the
    other. WebSockets that are not agents' are among them.
    """

    def __init__(self) -> None:
        self._sessions: set[Endable] = set()
        self._end: SessionEnd | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Endable]:
        return iter(tuple(self._sessions))

    @contextmanager
    def register(self, session: Endable) -> Iterator[None]:
        """Hold an entry for ``session``; after ``end_all`` it is ended as it comes."""
        self._sessions.add(session)
        if self._end is not None:  # its 101 was on the way when the others were ended
            session.end(self._end)
        try:
            yield
        finally:
            self._sessions.discard(session)

    def end_all(self, end: SessionEnd) -> None:
        """End every live session with ``end``, and those that are still to come."""
        self._end = end
        for session in self:
            session.end(end)
