"""Messages to workers at rest, while the program that sends them is replaced.

Owns: that none is half sent then, that no reload is half done, and how long that is waited for.

Must not know: what happens meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from gateway.server.children import RELOAD_ANSWER, Child

# How long workers may take to read what they are being sent, before the program can be replaced.
FREEZE: Final = 5.0
# And a reload that is under way: longer, and some worker does not answer.
RELOAD_ENDS: Final = RELOAD_ANSWER + FREEZE


@asynccontextmanager
async def frozen(
    children: Callable[[], Sequence[Child]], reloading: trio.Lock
) -> AsyncIterator[str | None]:
    """Hold ``reloading`` and every stream; yield why that cannot be, or None. Then let them go."""
    with trio.move_on_after(RELOAD_ENDS) as scope:
        await reloading.acquire()
    if scope.cancelled_caught:
        yield "a reload is under way, and a worker does not answer it"
        return
    held: list[Child] = []
    try:
        yield await _freeze(children, held)
    finally:
        for each in held:
            each.control.thaw()
        reloading.release()


async def _freeze(children: Callable[[], Sequence[Child]], held: list[Child]) -> str | None:
    until = trio.current_time() + FREEZE
    # Asked anew each time: a worker that is started meanwhile is being told how.
    while (child := next((each for each in children() if each not in held), None)) is not None:
        with trio.move_on_at(until) as scope:
            await child.control.freeze()
            held.append(child)
        if scope.cancelled_caught:
            return f"worker {child.process.pid} does not take its messages"
    return None
