"""The configuration in force, with everything built from it, and the one that is to follow.

Owns: the two steps of a reload. A generation is built completely before it is offered; then it
takes the place of the one in force at once and whole, or it is forgotten.

Must not know: what a generation consists of.

Whoever serves asks for ``current`` anew for each connection and each request, and keeps what he got
until he is done: nothing that is under way sees two generations.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class ConfigHolder(Generic[T]):
    """Holds one generation, and at most one that is prepared."""

    __slots__ = ("_prepared", "current", "number")

    def __init__(self, first: T, *, number: int = 0) -> None:
        """Begin with ``first``; ``number`` is the supervisor's for it."""
        self.current = first
        self.number = number
        self._prepared: tuple[int, T] | None = None

    def prepare(self, number: int, generation: T) -> None:
        """Offer a generation; one that was offered before is forgotten."""
        self._prepared = (number, generation)

    def commit(self, number: int) -> T | None:
        """Put the prepared generation ``number`` in force and return it; None if there is none."""
        if self._prepared is None or self._prepared[0] != number:
            return None
        self.number, self.current = self._prepared
        self._prepared = None
        return self.current

    def abandon(self, number: int) -> None:
        """Forget the prepared generation ``number``."""
        if self._prepared is not None and self._prepared[0] == number:
            self._prepared = None
