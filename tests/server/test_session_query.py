"""Filters, orders, pages."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.server.session_query import SORTS, SessionQuery


def session(node: str, **more: Any) -> dict[str, Any]:
    return {
        "session": f"s-{node}",
        "controller": "main",
        "node": node,
        "client": "192.0.2.1",
        "since": "2026",
        "suspect": False,
        "transport": "jnlp4",
        "agent_idle_s": 1.0,
        "round_trip_ms": None,
        "bytes_from_agent": 1,
        "bytes_to_agent": 1,
        "worker": 1,
        **more,
    }


SESSIONS = [
    session("b", suspect=True, round_trip_ms=5.0),
    session("a", client="2001:db8::1", agent_idle_s=9.0),
    session("c[1]", controller="other", transport="websocket", bytes_to_agent=7, client="unix"),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["a", "b", "c[1]"]),
        ({"controller": "main"}, ["a", "b"]),
        ({"node": "?"}, ["a", "b"]),
        ({"node": "c*"}, ["c[1]"]),
        ({"node": "c[1]"}, ["c[1]"]),  # brackets are not a set of characters
        ({"node": "[a-c]"}, []),
        ({"node": "A"}, []),
        ({"state": "suspect"}, ["b"]),
        ({"state": "live"}, ["a", "c[1]"]),
        ({"transport": "websocket"}, ["c[1]"]),
        ({"address": "192.0.2.0/24"}, ["b"]),
        ({"address": "192.0.2.77/24"}, ["b"]),
        ({"address": "2001:db8::1"}, ["a"]),
        ({"search": "C["}, ["c[1]"]),
        ({"search": "2001"}, ["a"]),
        ({"sort": "-node"}, ["c[1]", "b", "a"]),
        ({"sort": "-idle"}, ["a", "b", "c[1]"]),
        ({"sort": "round_trip"}, ["a", "c[1]", "b"]),
        ({"sort": "-sent"}, ["c[1]", "a", "b"]),
    ],
)
def test_what_is_found(query: dict[str, Any], expected: list[str]) -> None:
    found = SessionQuery.model_validate(query).select(SESSIONS)
    assert [each["node"] for each in found] == expected


def test_pages_do_not_overlap() -> None:
    many = [session(f"n{i:03}") for i in range(250)]
    seen: list[str] = []
    for offset in range(0, 300, 100):
        query = SessionQuery(offset=offset, sort="worker")
        seen += [each["node"] for each in query.page(query.select(many[::-1]))]
    assert seen == [each["node"] for each in many]


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_works(sort: str) -> None:
    assert len(SessionQuery(sort=sort).select(SESSIONS)) == 3


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "nonsense"},
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"address": "host"},
        {"node": "*" * 9},
        {"node": "x" * 300},
        {"state": "dead"},
        {"unknown": 1},
    ],
)
def test_what_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SessionQuery.model_validate(query)
