"""Sessions counted: states, ends, and bytes that never go back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.agents.registry import Entry, Registry
from gateway.agents.session_meters import SessionMeters, add_nodes, reason_of
from gateway.config.metrics import MetricsConfig
from gateway.errors import ControllerClosed, Draining, PeerLost, TakenOver
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import (
    NODE_BYTES,
    NODE_ROUND_TRIP,
    NODE_START,
    NODES_LEFT_OUT,
    SESSION_BYTES,
    SESSION_DURATION,
    SESSIONS,
    SESSIONS_ENDED,
    SESSIONS_OPENED,
)
from gateway.runtime.ended_session import EndedSession
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.runtime.session_loop import Sign
from gateway.runtime.session_view import SessionView
from tests.agents.test_history import ended

AGENT = Side.AGENT


@dataclass(eq=False)
class PlayedSession:
    """A session with numbers of the test's choice."""

    transport: str = "jnlp4"
    from_agent: int = 0
    to_agent: int = 0
    suspect: bool = False
    is_running: bool = True
    round_trip: float | None = None
    started_at: float = 0.0

    async def challenge(self) -> Sign:
        raise AssertionError

    def end(self, end: SessionEnd) -> None:
        raise AssertionError

    def view(self) -> SessionView:
        moved = self.from_agent, self.to_agent
        return SessionView(self.transport, "192.0.2.9:1", 0, 0, 0, *moved, self.round_trip, 1)


def entry(session: PlayedSession, node: str = "a", *, since: float = 0.0) -> Entry:
    return Entry(session, f"s-{node}", "main", node, "192.0.2.1", since)


def over(node: str, **changes: Any) -> EndedSession:
    return replace(ended(session=f"s-{node}"), **changes)


class Scene:
    def __init__(self) -> None:
        self.meters = Meters()
        self.sessions = SessionMeters(self.meters)

    def read(self) -> Samples:
        self.sessions.count_live_bytes()
        samples = Samples()
        self.meters.add_to(samples)
        return samples


def test_a_sessions_life() -> None:
    scene, session = Scene(), PlayedSession()
    scene.sessions.opened(entry(session), "jnlp4")
    assert scene.read().of(SESSIONS_OPENED) == {("main", "jnlp4"): 1}
    scene.sessions.ended(over("a", age=61.0))
    found = scene.read()
    assert found.of(SESSIONS_ENDED) == {("main", "jnlp4", "agent", "eof"): 1}
    (histogram,) = found.of(SESSION_DURATION).values()
    assert not isinstance(histogram, float | int)
    assert histogram.sum == 61.0


def test_bytes_of_live_and_ended_sessions_never_go_back() -> None:
    scene, session = Scene(), PlayedSession()
    up, down = (("main", "jnlp4", way) for way in ("from_agent", "to_agent"))
    scene.sessions.opened(entry(session), "jnlp4")
    # What a session has moved, the handshake's bytes first, which it then forgets.
    for moved, expected in ((100, 100), (0, 100), (250, 250), (250, 250)):
        session.from_agent = moved
        assert scene.read().of(SESSION_BYTES)[up] == expected
    scene.sessions.ended(over("a", bytes_from_agent=300, bytes_to_agent=7))
    found = scene.read().of(SESSION_BYTES)
    assert (found[up], found[down]) == (300, 7)
    session.from_agent = 10_000  # nobody asks it any more
    assert scene.read().of(SESSION_BYTES)[up] == 300


def test_an_end_without_a_beginning_is_none() -> None:
    scene = Scene()
    scene.sessions.ended(over("unknown"))
    assert scene.read().of(SESSIONS_ENDED) == {}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (SessionEnd(AGENT, "with any text: 1234", 1000, "info", how=How.CLOSED), "closed"),
        (SessionEnd.of(AGENT, PeerLost(), How.EOF), "eof"),
        (SessionEnd.of(AGENT, PeerLost(), How.RESET), "reset"),
        (SessionEnd.of(AGENT, PeerLost("no byte for 60 s")), "peer_lost"),
        (SessionEnd.of(Side.CONTROLLER, ControllerClosed(), How.EOF), "controller_closed"),
        (SessionEnd.of(Side.GATEWAY, Draining()), "draining"),
        (SessionEnd.of(Side.GATEWAY, TakenOver(detail="192.0.2.2")), "taken_over"),
        (SessionEnd.of(Side.GATEWAY, ValueError("a bug")), "internal_error"),
    ],
)
def test_reasons_are_words(end: SessionEnd, reason: str) -> None:
    assert reason_of(end) == reason


@pytest.mark.parametrize("lingering", [False, True])
def test_states(lingering: object) -> None:
    registry, samples = Registry(), Samples()
    played = [
        PlayedSession(),
        PlayedSession("websocket"),
        PlayedSession(suspect=True),
        PlayedSession(suspect=True, is_running=False),
    ]
    held = [registry.register(each, entry(each, str(i))) for i, each in enumerate(played)]
    for each in held:
        each.__enter__()
    SessionMeters().add_sessions(registry, ("main", "idle"), samples, lingering=lingering)
    found = {labels: number for labels, number in samples.of(SESSIONS).items() if number}
    usual = "lingering" if lingering else "open"
    assert found == {
        ("main", "jnlp4", usual): 1,
        ("main", "websocket", usual): 1,
        ("main", "jnlp4", "suspect"): 1,
        ("main", "jnlp4", "closing"): 1,
    }
    # A controller without a session has its zeros.
    assert len([labels for labels in samples.of(SESSIONS) if labels[0] == "idle"]) == 8
    for each in held:
        each.__exit__(None, None, None)


def test_nodes_only_where_they_are_wanted_and_not_more_than_so_many() -> None:
    registry, samples = Registry(), Samples()
    held = []
    for i in range(5):
        session = PlayedSession(from_agent=i, round_trip=None if i else 0.5)
        held.append(registry.register(session, entry(session, f"n{i}" + "x" * 300, since=10.0 - i)))
        held[-1].__enter__()
    add_nodes(registry, MetricsConfig(), samples)
    assert not list(samples)
    add_nodes(registry, MetricsConfig(per_node=True, nodes=2), samples)
    # The oldest ones.
    assert {labels[1][:2] for labels in samples.of(NODE_START)} == {"n4", "n3"}
    assert {len(labels[1]) for labels in samples.of(NODE_START)} == {256}
    assert len(samples.of(NODE_BYTES)) == 4
    assert samples.of(NODE_ROUND_TRIP) == {}
    assert samples.of(NODES_LEFT_OUT) == {(): 3}
    for each in held:
        each.__exit__(None, None, None)
