"""The API's way to operations; their answers are compared in ``test_admin_processes``."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.server.admin.api import BASE, api_routes
from gateway.server.control import Message
from gateway.server.operations import Operations, Refused
from gateway.server.session_query import SessionQuery
from tests.server.admin.asking import serving


class Played:
    """Stands in for the operations; ``asked`` are those that were wished for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: Refused | None = None

    def __getattr__(self, name: str) -> Any:
        async def run(*arguments: Any) -> Message:
            self.asked.append((name, *arguments))
            if self.refusal is not None:
                raise self.refusal
            return {"done": name}

        return run


async def test_filters_arrive() -> None:
    played = Played()
    async with serving(routes=api_routes(cast("Operations", played))) as admin:
        query = "controller=a&node=b*&state=live&sort=-idle&offset=5&limit=10"
        assert (await admin.ask(target=f"{BASE}/sessions?{query}")).status == 200
    expected = SessionQuery(
        controller="a", node="b*", state="live", sort="-idle", offset=5, limit=10
    )
    assert played.asked == [("sessions", expected)]


@pytest.mark.parametrize(
    ("kind", "status"), [("not-found", 404), ("conflict", 409), ("unavailable", 503)]
)
async def test_refusals(kind: str, status: int) -> None:
    played = Played()
    played.refusal = Refused(kind, "for a reason")
    async with serving(routes=api_routes(cast("Operations", played))) as admin:
        found = await admin.ask(target=f"{BASE}/workers")
    assert (found.status, found.problem) == (status, kind)
    assert found.json["detail"] == "for a reason"


async def test_whatever_changes_something_is_post_json_and_tells_who() -> None:
    played = Played()
    routes = api_routes(cast("Operations", played))
    async with serving(routes=routes) as admin:
        for route in routes:
            assert route.changes_something is (route.method == "POST")
            if route.method != "POST":
                continue
            assert (await admin.ask("POST", route.path, body=b"{}")).status == 415
            assert (await admin.ask("GET", route.path)).status in (200, 405)
        found = await admin.ask(
            "POST",
            f"{BASE}/kick",
            body=b'{"node": "a"}',
            fields=["Content-Type: application/json; charset=utf-8"],
        )
        assert found.status == 200
    name, wish, by = played.asked[-1]
    assert (name, wish.node, by) == ("kick", "a", "127.0.0.1")
