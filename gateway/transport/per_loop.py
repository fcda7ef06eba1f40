"""One object for each event loop, made when somebody first asks for it.

Must not know: what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


def one_per_loop(name: str, make: Callable[[], T]) -> Callable[[], T]:
    """Return what returns the object of the running event loop. ``name`` is for debugging."""
    variable = trio.lowlevel.RunVar[T](name)

    def current() -> T:
        try:
            return variable.get()
        except LookupError:
            made = make()
            variable.set(made)
            return made

    return current
