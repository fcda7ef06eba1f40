"""The last ends of all nodes: the latest first, bounded in number and size."""

from __future__ import annotations

import json
import sys

from gateway.agents.recent_ends import LONGEST_REASON, RecentEnds
from gateway.errors import PeerLost
from gateway.runtime.session_end import How, SessionEnd, Side
from tests.agents.test_history import AT, ended


def test_the_latest_first() -> None:
    recent = RecentEnds(most=3)
    for i in range(5):
        recent.add(ended(session=f"s{i}", node=f"n{i}", at=AT + i))
    found = recent.as_fields()
    assert [(each["session"], each["node"], each["at"]) for each in found] == [
        ("s4", "n4", AT + 4),
        ("s3", "n3", AT + 3),
        ("s2", "n2", AT + 2),
    ]
    assert json.loads(json.dumps(found)) == found


def test_a_long_reason_is_cut() -> None:
    recent = RecentEnds()
    end = SessionEnd.of(Side.CONTROLLER, PeerLost("x" * 100_000), How.EOF)
    recent.add(ended(end=end))
    (found,) = recent.as_fields()
    assert len(found["reason"]) == LONGEST_REASON
    assert found["reason"].endswith("…")
    assert found["by"] == "controller"


def test_no_error_is_kept_alive() -> None:
    recent = RecentEnds()
    error = PeerLost("gone")
    recent.add(ended(end=SessionEnd.of(Side.AGENT, error, How.EOF)))
    assert sys.getrefcount(error) == 2  # this name, and the argument
