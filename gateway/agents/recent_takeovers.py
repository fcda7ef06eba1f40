"""Which nodes have lately gone from whom to whom, as far as this worker knows.

Owns: a bounded table, forgotten after five minutes. A session carries its node's takeovers, but one
that was ended and never replaced, since the newcomer failed or left, can tell nobody.

Must not know: what follows from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from gateway.agents.registry import Takeover

TAKEOVERS_WITHIN: Final = 300.0
# Takeovers of one node that are remembered, and nodes.
MOST_OF_A_NODE: Final = 12
MOST_NODES: Final = 10_000


class RecentTakeovers:
    """The table of one worker. Times are Unix time."""

    def __init__(self, *, most_nodes: int = MOST_NODES) -> None:
        self._most = most_nodes
        self._nodes: OrderedDict[tuple[str, str], tuple[Takeover, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def of(self, controller: str, node: str, now: float) -> tuple[Takeover, ...]:
        """Return a node's, oldest first."""
        return lately(self._nodes.get((controller, node), ()), now)

    def add(self, controller: str, node: str, more: Iterable[Takeover], now: float) -> None:
        """Remember ``more``; the same one, told again, counts once."""
        key = controller, node
        known = lately({*self._nodes.pop(key, ()), *more}, now)
        if known:
            self._nodes[key] = known
            if len(self._nodes) > self._most:
                self._nodes.popitem(last=False)


def lately(takeovers: Iterable[Takeover], now: float) -> tuple[Takeover, ...]:
    """Return those that still count, oldest first.

    None from far ahead, either: where the clock was set back they would count for as long.
    """
    recent = (each for each in takeovers if abs(now - each.at) < TAKEOVERS_WITHIN)
    return tuple(sorted(recent, key=lambda each: each.at))[-MOST_OF_A_NODE:]
