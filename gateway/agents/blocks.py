"""Nodes that operators keep out.

Owns: which nodes are blocked until when, as one worker knows it, and the refusal.

Must not know: who blocks, where the list is kept (``server.block_list``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.errors import Blocked


@dataclass(frozen=True, slots=True)
class Block:
    """A node that is kept out. ``controller`` None: of every one. ``until``: Unix time, or None."""

    node: str
    controller: str | None = None
    until: float | None = None
    reason: str = ""
    since: float = 0.0
    by: str = ""

    @property
    def key(self) -> tuple[str | None, str]:
        """What there is one block for."""
        return self.controller, self.node

    def holds(self, now: float) -> bool:
        """Say whether it is in force at Unix time ``now``."""
        return self.until is None or now < self.until

    def in_words(self) -> dict[str, Any]:
        """Return it as fields of a JSON object."""
        return {
            "node": self.node,
            "controller": self.controller,
            "until": self.until,
            "reason": self.reason,
            "since": self.since,
            "by": self.by,
        }

    @classmethod
    def of_words(cls, words: dict[str, Any]) -> Block:
        """Read what ``in_words`` made. Raises KeyError, TypeError, ValueError."""
        controller, until = words["controller"], words["until"]
        return cls(
            str(words["node"]),
            None if controller is None else str(controller),
            None if until is None else float(until),
            str(words["reason"]),
            float(words["since"]),
            str(words["by"]),
        )


class Blocks:
    """The blocks that one worker knows of."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: Unix time."""
        self._clock = clock
        self._by_key: dict[tuple[str | None, str], Block] = {}

    def replace(self, blocks: Iterable[Block]) -> None:
        """Know these, and no others."""
        self._by_key = {block.key: block for block in blocks}

    def check(self, controller: str, node: str) -> None:
        """Raise Blocked where an operator keeps ``node`` out."""
        for key in ((controller, node), (None, node)):
            block = self._by_key.get(key)
            if block is not None and block.holds(self._clock()):
                raise Blocked(detail=_describe(block))


def _describe(block: Block) -> str:
    until = ""
    if block.until is not None:
        until = f" until {datetime.fromtimestamp(block.until, UTC).isoformat(timespec='seconds')}"
    return f"blocked by an operator{until}" + (f": {block.reason}" if block.reason else "")
