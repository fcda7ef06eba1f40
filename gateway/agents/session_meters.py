"""What is counted of agents' sessions.

Owns: beginnings, ends and their reasons, bytes, and the states of those that live.

Must not know: how sessions run, when somebody asks.

Sessions keep their bytes as plain numbers. Whoever asks has what has come since the last time added
to the counters, and an end adds the rest, so that no byte counts twice and no counter goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.agents.registry import Entry, Registry
from gateway.config.metrics import MetricsConfig
from gateway.errors import PeerLost
from gateway.observability.metrics.error_names import error_name
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import (
    NODE_BYTES,
    NODE_ROUND_TRIP,
    NODE_START,
    NODES_LEFT_OUT,
    ROUND_TRIP,
    SESSION_BYTES,
    SESSION_DURATION,
    SESSIONS,
    SESSIONS_ENDED,
    SESSIONS_OPENED,
)
from gateway.runtime.ended_session import EndedSession
from gateway.runtime.session_end import How, SessionEnd

TRANSPORTS: Final = ("jnlp4", "websocket")
# Characters of a node's name that are shown: more is never looked at.
MOST_NAME: Final = 256
STATES: Final = ("open", "suspect", "lingering", "closing")


class _Live:
    """A session, and how many of its bytes have been counted."""

    __slots__ = ("entry", "from_agent", "to_agent", "transport")

    def __init__(self, entry: Entry, transport: str) -> None:
        self.entry = entry
        self.transport = transport
        self.from_agent = self.to_agent = 0


class SessionMeters:
    """Counts the sessions of one worker."""

    def __init__(self, meters: Meters | None = None) -> None:
        self._meters = Meters() if meters is None else meters
        self._live: dict[str, _Live] = {}

    def opened(self, entry: Entry, transport: str) -> None:
        """Count a beginning."""
        self._live[entry.id] = _Live(entry, transport)
        self._meters.count(SESSIONS_OPENED, entry.controller, transport)

    def ended(self, ended: EndedSession) -> None:
        """Count an end, and what is left of the session's bytes."""
        live = self._live.pop(ended.session, None)
        if live is None:
            return
        self._count_bytes(live, ended.bytes_from_agent, ended.bytes_to_agent)
        side, reason = ended.end.side.value, reason_of(ended.end)
        self._meters.count(SESSIONS_ENDED, ended.controller, live.transport, side, reason)
        self._meters.observe(SESSION_DURATION, ended.age, ended.controller)

    def round_trips(self, controller: str) -> Callable[[float], None]:
        """Return what is to be told of each round trip to an agent of ``controller``."""
        return partial(self._round_trip, controller)

    def _round_trip(self, controller: str, seconds: float) -> None:
        self._meters.observe(ROUND_TRIP, seconds, controller)

    def count_live_bytes(self) -> None:
        """Count what live sessions have moved since the last time."""
        for live in self._live.values():
            view = live.entry.session.view()
            self._count_bytes(live, view.bytes_from_agent, view.bytes_to_agent)

    def add_sessions(
        self,
        registry: Registry,
        controllers: tuple[str, ...],
        samples: Samples,
        *,
        lingering: object,
    ) -> None:
        """Add how many sessions of each state there are; also of ``controllers`` without any."""
        found = Counter(
            {
                (controller, transport, state): 0
                for controller in controllers
                for transport in TRANSPORTS
                for state in STATES
            }
        )
        for entry in registry.entries():
            live = self._live.get(entry.id)
            transport = entry.session.view().transport if live is None else live.transport
            state = "lingering" if lingering else "open"
            if not entry.session.is_running:
                state = "closing"
            elif entry.session.suspect:
                state = "suspect"
            found[entry.controller, transport, state] += 1
        for labels, number in found.items():
            samples.add(SESSIONS, number, *labels)

    def _count_bytes(self, live: _Live, from_agent: int, to_agent: int) -> None:
        names = live.entry.controller, live.transport
        # Never backwards: a session forgets the bytes of its handshake once that is over.
        new = max(0, from_agent - live.from_agent)
        self._meters.count(SESSION_BYTES, *names, "from_agent", by=new)
        live.from_agent += new
        new = max(0, to_agent - live.to_agent)
        self._meters.count(SESSION_BYTES, *names, "to_agent", by=new)
        live.to_agent += new


def reason_of(end: SessionEnd) -> str:
    """Return why a session ended, in one of few words.

    ``closed`` is the Close frame of either side, ``eof`` an end without one, ``reset`` a reset; the
    rest is named after the error.
    """
    if end.error is None:
        return "closed"
    if isinstance(end.error, PeerLost):
        return {How.EOF: "eof", How.RESET: "reset"}.get(end.how, "peer_lost")
    return error_name(end.error)


def add_nodes(registry: Registry, config: MetricsConfig, samples: Samples) -> None:
    """Add what is known of each node's session, the oldest ones where there are too many."""
    if not config.per_node:
        return
    entries = [entry for entry in registry.entries() if entry.session.is_running]
    entries.sort(key=lambda entry: entry.since)
    samples.add(NODES_LEFT_OUT, max(0, len(entries) - config.nodes))
    for entry in entries[: config.nodes]:
        names = entry.controller, entry.node[:MOST_NAME]
        view = entry.session.view()
        samples.add(NODE_START, entry.since, *names)
        samples.add(NODE_BYTES, view.bytes_from_agent, *names, "from_agent")
        samples.add(NODE_BYTES, view.bytes_to_agent, *names, "to_agent")
        if view.round_trip is not None:
            samples.add(NODE_ROUND_TRIP, view.round_trip, *names)
