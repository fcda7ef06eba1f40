"""Tests of ``gateway.observability.timeline``: what is kept, and what goes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.observability.timeline import MAX_TEXT, Happening, Timelines

OPENED, ENDED, REFUSED = Happening.OPENED, Happening.ENDED, Happening.REFUSED


def note(
    lines: Timelines,
    what: Happening,
    node: str = "a",
    *,
    at: float = 0.0,
    **fields: str | int | float | None,
) -> None:
    lines.note(what, "main", node, at=at, fields=fields)


def test_events_are_json_objects() -> None:
    lines = Timelines()
    note(lines, OPENED, at=1.5, client="10.0.0.7", node_version=None)
    note(lines, ENDED, at=1_780_000_000.123, reason="Verbindung weg, äh", age=3.25)
    note(lines, Happening.TAKEOVER, at=1_780_000_001, old="10.0.0.7", new="10.0.0.8")
    events = lines.events("main", "a")
    assert events == [
        {"time": "1970-01-01T00:00:01.500Z", "event": "opened", "client": "10.0.0.7"},
        {
            "time": "2026-05-28T20:26:40.123Z",
            "event": "ended",
            "reason": "Verbindung weg, äh",
            "age": 3.25,
        },
        {
            "time": "2026-05-28T20:26:41.000Z",
            "event": "takeover",
            "old": "10.0.0.7",
            "new": "10.0.0.8",
        },
    ]
    assert json.loads(json.dumps(events)) == events
    assert lines.nodes() == [("main", "a")]


def test_an_unknown_node_has_no_events() -> None:
    assert Timelines().events("main", "a") == []


def test_the_same_node_of_two_controllers_are_two() -> None:
    lines = Timelines()
    note(lines, OPENED)
    lines.note(OPENED, "other", "a", at=0, fields={})
    assert len(lines) == 2
    assert len(lines.events("other", "a")) == 1


def test_the_last_fifty_events_are_kept() -> None:
    lines = Timelines()
    for number in range(120):
        note(lines, OPENED, number=number)
    assert [event["number"] for event in lines.events("main", "a")] == list(range(70, 120))


def test_the_same_event_again_counts_up() -> None:
    lines = Timelines()
    note(lines, OPENED)
    for at in range(10, 13):
        note(lines, REFUSED, at=at, reason="not authorized", client="10.0.0.7")
    note(lines, REFUSED, at=13, reason="not authorized", client="10.0.0.8")
    _, first, second = lines.events("main", "a")
    assert first["times"] == 3
    assert first["first_time"] == "1970-01-01T00:00:10.000Z"
    assert first["time"] == "1970-01-01T00:00:12.000Z"
    assert "times" not in second


def test_refusals_do_not_push_out_what_happened() -> None:
    """Anybody may send any node's name with a wrong secret, from many addresses."""
    lines = Timelines()
    for number in range(25):
        note(lines, ENDED, number=number)
    for number in range(1000):
        note(lines, REFUSED, client=f"10.0.{number // 256}.{number % 256}")
    events = lines.events("main", "a")
    assert [event["number"] for event in events if event["event"] == "ended"] == list(range(25))
    assert len(events) == 50
    assert events[-1]["client"] == "10.0.3.231"


def test_strangers_do_not_push_out_nodes() -> None:
    lines = Timelines(max_nodes=10, max_strangers=5)
    for number in range(10):
        note(lines, OPENED, f"node-{number}")
    for number in range(1000):
        note(lines, REFUSED, f"guess-{number}")
    known = [node for _, node in lines.nodes()]
    assert known == [f"guess-{number}" for number in range(995, 1000)] + [
        f"node-{number}" for number in range(10)
    ]


def test_a_stranger_that_gets_in_keeps_its_history() -> None:
    lines = Timelines(max_strangers=1)
    note(lines, REFUSED, reason="not authorized")
    note(lines, OPENED)
    note(lines, REFUSED, "someone else")
    assert [event["event"] for event in lines.events("main", "a")] == ["refused", "opened"]
    assert len(lines) == 2


def test_the_quietest_node_goes_first() -> None:
    lines = Timelines(max_nodes=2)
    note(lines, OPENED, "a")
    note(lines, OPENED, "b")
    note(lines, ENDED, "a")
    note(lines, OPENED, "c")
    assert [node for _, node in lines.nodes()] == ["a", "c"]


def test_long_texts_are_cut() -> None:
    lines = Timelines()
    note(lines, ENDED, reason="x" * 5000)
    (event,) = lines.events("main", "a")
    assert event["reason"] == "x" * (MAX_TEXT - 1) + "…"


@given(
    st.lists(
        st.tuples(st.sampled_from(Happening), st.integers(0, 12), st.integers(0, 40)), max_size=300
    )
)
def test_it_is_bounded_whatever_happens(history: list[tuple[Happening, int, int]]) -> None:
    lines = Timelines(per_node=6, max_nodes=4, max_strangers=3)
    for at, (what, node, number) in enumerate(history):
        note(lines, what, f"n{node}", at=at, number=number)
        assert lines.events("main", f"n{node}")[-1]["number"] == number
    assert len(lines) <= 7
    for key in lines.nodes():
        events = lines.events(*key)
        assert 1 <= len(events) <= 6
        times = [str(event["time"]) for event in events]
        assert times == sorted(times)
