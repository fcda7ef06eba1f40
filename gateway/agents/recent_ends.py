"""The last sessions that ended, of all nodes.

Owns: how many are kept. A node's own history is in its timeline.

Must not know: who asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any, Final

from gateway.runtime.ended_session import EndedSession

# What fits on a page; about a KiB each.
MOST_ENDS: Final = 50
# Characters; a reason may quote what a controller said.
LONGEST_REASON: Final = 300


class RecentEnds:
    """The last ``most`` ends of one worker."""

    def __init__(self, most: int = MOST_ENDS) -> None:
        self._ends: deque[EndedSession] = deque(maxlen=most)

    def add(self, ended: EndedSession) -> None:
        """Remember an end, in place of the oldest."""
        reason = ended.end.reason
        if len(reason) > LONGEST_REASON:
            reason = f"{reason[: LONGEST_REASON - 1]}…"
        # Without the error, which would keep its traceback, and that everything in sight.
        end = replace(ended.end, reason=reason, error=None)
        self._ends.append(replace(ended, end=end))

    def as_fields(self) -> list[dict[str, Any]]:
        """Return them as JSON objects, the latest first. ``at`` is Unix time."""
        return [{"at": round(each.at, 3), **each.as_fields()} for each in reversed(self._ends)]
