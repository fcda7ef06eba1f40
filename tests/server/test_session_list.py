"""Tests of ``gateway.server.session_list``: the answers of all workers, as one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.server.fleet import Fleet
from gateway.server.session_list import MOST_EVENTS, list_sessions, node_timeline

SINCE = 1_780_000_000.0


class PlayedFleet:
    """``answers``: process id -> what that worker says."""

    def __init__(self, answers: dict[int, dict[str, Any]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, object]]] = []

    async def ask_all(self, question: str, **more: object) -> dict[Any, dict[str, Any]]:
        self.asked.append((question, more))
        return {_Child(pid): answer for pid, answer in self.answers.items()}


class _Child:
    def __init__(self, pid: int) -> None:
        self.process = SimpleNamespace(pid=pid)


def session(node: str, controller: str = "main") -> dict[str, Any]:
    return {"controller": controller, "node": node, "since": SINCE, "session": f"s-{node}"}


async def test_all_sessions_in_order() -> None:
    fleet = PlayedFleet(
        {
            7: {"sessions": [session("b"), session("c", "early")]},
            5: {},
            6: {"sessions": [session("a")]},
        }
    )
    found = await list_sessions(cast("Fleet", fleet))
    assert [(each["node"], each["worker"]) for each in found["sessions"]] == [
        ("c", 7),
        ("a", 6),
        ("b", 7),
    ]
    assert found["sessions"][0]["since"] == "2026-05-28T20:26:40+00:00"
    assert found["silent"] == [5]
    assert fleet.asked == [("sessions", {})]


async def test_one_node() -> None:
    fleet = PlayedFleet({7: {"sessions": [session("b"), session("a")]}})
    found = await list_sessions(cast("Fleet", fleet), "a")
    assert [each["node"] for each in found["sessions"]] == ["a"]


async def test_a_timeline_of_several_workers() -> None:
    def event(second: int, controller: str = "main") -> dict[str, Any]:
        return {"controller": controller, "time": f"2026-01-01T00:00:{second:02}.000Z"}

    fleet = PlayedFleet(
        {7: {"events": [event(1), event(3), event(5, "other")]}, 8: {"events": [event(2)]}, 9: {}}
    )
    found, _ = await node_timeline(cast("Fleet", fleet), "a")
    assert [(each["time"][17:19], each["worker"]) for each in found] == [
        ("01", 7),
        ("02", 8),
        ("03", 7),
        ("05", 7),
    ]
    assert fleet.asked == [("timeline", {"node": "a"})]


async def test_a_timeline_is_bounded() -> None:
    events = [{"controller": "main", "time": f"2026-01-01T00:{i:02}"} for i in range(40)]
    fleet = PlayedFleet({pid: {"events": [dict(each) for each in events]} for pid in (1, 2)})
    found, _ = await node_timeline(cast("Fleet", fleet), "a")
    assert len(found) == MOST_EVENTS
    assert found[-1]["time"].endswith(":39"), "the latest"
