"""The word to leave, the word to stop, and the waits that the latter cuts short.

Owns: two facts (clients are to leave; stopping has begun) and the waits that nobody is owed: a
connection on which no request has begun, a handshake that has not brought one yet.

Must not know: HTTP, sessions, who gives the word, how long what is under way may take.

Whoever waits for something that may never come waits inside ``idle``; whoever answers asks
``leaving``, so that the answer is the connection's last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Drain:
    """One stop, shared by everything in a worker."""

    __slots__ = ("_begun", "_heeding", "_idle", "_leaving")

    def __init__(self) -> None:
        self._begun = False
        self._leaving = False
        self._idle: set[trio.CancelScope] = set()
        self._heeding: set[Callable[[], None]] = set()

    @property
    def leaving(self) -> bool:
        """Say whether clients are to leave: each with its next answer, none without one."""
        return self._leaving

    def leave(self) -> None:
        """Give the word to leave: nothing is cut short, and every answer is the last."""
        self._leaving = True

    @property
    def begun(self) -> bool:
        """Say whether stopping has begun; it is never taken back."""
        return self._begun

    def begin(self) -> None:
        """Give the word: every idle wait ends now, and later ones before they begin."""
        self._begun = self._leaving = True
        for scope in tuple(self._idle):
            scope.cancel()
        for tell in tuple(self._heeding):
            tell()

    @contextmanager
    def telling(self, tell: Callable[[], None]) -> Iterator[None]:
        """Have ``tell`` called when stopping begins during the ``with``.

        For those who wait too often for an ``idle`` each time, and know themselves when they do.
        """
        self._heeding.add(tell)
        try:
            yield
        finally:
            self._heeding.discard(tell)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Cut the body of the ``with`` short when stopping begins; what follows it runs either way.

        trio's receives either return data or are cancelled, so nothing that arrived is lost.
        """
        with trio.CancelScope() as scope:
            if self._begun:
                scope.cancel()
            self._idle.add(scope)
            try:
                yield
            finally:
                self._idle.discard(scope)
