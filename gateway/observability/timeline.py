"""What happened to each node lately: a bounded history, in memory.

Owns: the last events of every node, and which of them go when room is needed.

Must not know: who asks for them, sessions, clocks (times are handed in).

Anybody may name any node in a request that is refused. So strangers' refusals must not push out
what is worth knowing: nodes that never had a session here are kept apart from those that had, in a
smaller place; of one node's events at most half are refusals where something else would have to go
for them; and the same event again only counts up. Events are kept as JSON text, which takes a
fraction of the memory of dictionaries.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final

EVENTS_PER_NODE: Final = 50
# 26 KiB each when full of ends of sessions.
MAX_NODES: Final = 1000
MAX_STRANGERS: Final = 100
# The longest text in an event, characters; a reason may quote what a controller said.
MAX_TEXT: Final = 300

Scalar = str | int | float | bool | None


class Happening(Enum):
    """What an event is about."""

    OPENED = "opened"
    ENDED = "ended"
    REFUSED = "refused"
    TAKEOVER = "takeover"


class _Event:
    """One event, or the same one several times in a row."""

    __slots__ = ("at", "first_at", "text", "times", "what")

    def __init__(self, at: float, what: Happening, text: str) -> None:
        self.at = self.first_at = at
        self.what = what
        self.text = text
        self.times = 1

    def as_fields(self) -> dict[str, Scalar]:
        fields: dict[str, Scalar] = {"time": _iso(self.at), "event": self.what.value}
        if self.times > 1:
            fields |= {"times": self.times, "first_time": _iso(self.first_at)}
        fields.update(json.loads(self.text))
        return fields


class _History:
    """The events of one node, oldest first."""

    __slots__ = ("_events", "_limit", "_refusals")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: list[_Event] = []
        self._refusals = 0

    def add(self, event: _Event) -> None:
        events = self._events
        last = events[-1] if events else None
        if last is not None and (last.what, last.text) == (event.what, event.text):
            last.at = event.at
            last.times += 1
            return
        events.append(event)
        self._refusals += event.what is Happening.REFUSED
        if len(events) > self._limit:
            self._drop_one()

    def _drop_one(self) -> None:
        place = 0
        if self._refusals > self._limit // 2:
            place = next(
                i for i, event in enumerate(self._events) if event.what is Happening.REFUSED
            )
        gone = self._events.pop(place)
        self._refusals -= gone.what is Happening.REFUSED

    def as_fields(self) -> list[dict[str, Scalar]]:
        return [event.as_fields() for event in self._events]


class Timelines:
    """The last events of every node of every controller.

    At most ``per_node`` events of ``max_nodes`` nodes that had a session, and of ``max_strangers``
    that did not; the one that has been quiet for longest goes first.
    """

    def __init__(
        self,
        *,
        per_node: int = EVENTS_PER_NODE,
        max_nodes: int = MAX_NODES,
        max_strangers: int = MAX_STRANGERS,
    ) -> None:
        self._per_node = per_node
        self._max_nodes = max_nodes
        self._max_strangers = max_strangers
        self._nodes: OrderedDict[tuple[str, str], _History] = OrderedDict()
        self._strangers: OrderedDict[tuple[str, str], _History] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes) + len(self._strangers)

    def note(
        self,
        what: Happening,
        controller: str,
        node: str,
        *,
        at: float,
        fields: Mapping[str, Scalar],
    ) -> None:
        """Add an event of ``node``; ``at`` is Unix time, seconds.

        ``fields`` say what happened, without secrets; texts are cut at ``MAX_TEXT`` characters.
        """
        event = _Event(at, what, _as_text(fields))
        key = (controller, node)
        history = self._nodes.get(key)
        if history is not None:
            history.add(event)
            self._nodes.move_to_end(key)
            return
        history = self._strangers.pop(key, None) or _History(self._per_node)
        history.add(event)
        if what is Happening.REFUSED:
            place, limit = self._strangers, self._max_strangers
        else:
            place, limit = self._nodes, self._max_nodes
        place[key] = history
        if len(place) > limit:
            place.popitem(last=False)

    def nodes(self) -> list[tuple[str, str]]:
        """Return (controller, node) of all that are remembered, the latest last."""
        return [*self._strangers, *self._nodes]

    def events(self, controller: str, node: str) -> list[dict[str, Scalar]]:
        """Return a node's events as JSON objects, oldest first; none for an unknown node.

        Each has ``time`` (UTC), ``event`` and its own fields; the same event several times in a row
        is one object with ``times`` and ``first_time``.
        """
        key = (controller, node)
        history = self._nodes.get(key) or self._strangers.get(key)
        return [] if history is None else history.as_fields()


def _as_text(fields: Mapping[str, Scalar]) -> str:
    short = {
        name: value[: MAX_TEXT - 1] + "…"
        if isinstance(value, str) and len(value) > MAX_TEXT
        else value
        for name, value in fields.items()
        if value is not None
    }
    return json.dumps(short, ensure_ascii=False, separators=(",", ":"))


def _iso(at: float) -> str:
    time = datetime.fromtimestamp(at, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
