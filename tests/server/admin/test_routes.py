"""Paths, parameters and names that are meant to get in the way."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from gateway.server.admin.messages import Problem
from gateway.server.admin.routes import Routes, decode
from tests.server.admin.asking import ROUTES, serving


@pytest.mark.parametrize(
    "name",
    ["a", "a/b", "a b", "a%2Fb", "..%2f", "\x00\x1b[31m", "‮evil", "<b>", "x" * 300, "ä", "?#&"],
)
async def test_hostile_names_arrive_as_they_are(name: str) -> None:
    async with serving() as admin:
        found = await admin.ask(target=f"/nodes/{quote(name, safe='')}/past")
        assert found.json["path"] == {"node": name}
        found = await admin.ask(target=f"/nodes/x/past?name={quote(name, safe='')}")
        assert found.json["query"] == {"name": name}
    assert found.body.isascii()
    assert b"\x1b" not in found.body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("limit=9&word=a&is=true", {"limit": 9, "word": "a", "is": True}),
        ("name=a+b%2B", {"name": "a b+"}),
        ("is=false&&", {"is": False}),
    ],
)
async def test_parameters(query: str, expected: dict[str, object]) -> None:
    async with serving() as admin:
        assert (await admin.ask(target=f"/nodes/x/past?{query}")).json["query"] == expected


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=10",
        "limit=x",
        "limit=%C2%B2",  # a digit to some
        "limit=-1",
        "limit=1&limit=1",
        "word=c",
        "is=yes",
        "unknown=1",
        "name=%",
        "name=%ff",
        "node=x",
        f"name={'x' * 1025}",
        "&".join(f"name{i}=" for i in range(33)),
    ],
)
async def test_parameters_that_are_refused(query: str) -> None:
    async with serving() as admin:
        found = await admin.ask(target=f"/nodes/x/past?{query}")
    assert found.status == 400
    assert found.problem in ("bad-parameter", "bad-target")


def test_an_empty_name_is_none() -> None:
    assert Routes(ROUTES).find("/nodes//past") is None


def test_a_route_is_there_once() -> None:
    with pytest.raises(ValueError, match="is there already"):
        Routes([*ROUTES, ROUTES[0]])


def test_what_cannot_be_decoded() -> None:
    assert decode("%E2%80%AE") == "‮"
    for text in ("%", "%2", "%zz", "%80"):
        with pytest.raises(Problem):
            decode(text)
