"""Tests of ``gateway.agents.recent_takeovers``: what counts, for how long, and how much is kept."""

from __future__ import annotations

from gateway.agents.recent_takeovers import MOST_OF_A_NODE, RecentTakeovers
from gateway.agents.registry import Takeover


def test_what_counts() -> None:
    recent = RecentTakeovers()
    first, second = Takeover(100.0, "x", "y"), Takeover(200.0, "y", "x")
    recent.add("main", "a", [second], 200.0)
    recent.add("main", "a", [first, second], 201.0)
    assert recent.of("main", "a", 201.0) == (first, second)
    assert recent.of("other", "a", 201.0) == recent.of("main", "b", 201.0) == ()
    assert recent.of("main", "a", 400.0) == (second,)
    recent.add("main", "a", [], 500.0)
    assert len(recent) == 0, "nothing is left of what counts no more"


def test_a_clock_that_is_set_back() -> None:
    """Else the node would be one of two agents for as long as the clock was set back."""
    recent = RecentTakeovers()
    recent.add("main", "a", [Takeover(90_000.0, "x", "y")], 90_000.0)
    assert recent.of("main", "a", 89_999.0) != ()
    assert recent.of("main", "a", 3_600.0) == ()


def test_it_is_bounded() -> None:
    recent = RecentTakeovers(most_nodes=2)
    for node in "abac":
        recent.add("main", node, [Takeover(1.0, "x", "y")], 1.0)
    assert [bool(recent.of("main", node, 1.0)) for node in "abc"] == [True, False, True]
    many = [Takeover(float(at), "x", "y") for at in range(50)]
    recent.add("main", "a", many, 50.0)
    assert recent.of("main", "a", 50.0) == tuple(many[-MOST_OF_A_NODE:])
