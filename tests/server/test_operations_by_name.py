"""Operations through the control socket: arguments are checked as the API's are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.server.control import Message
from gateway.server.operations import Operations, Refused
from gateway.server.operations_by_name import BY, NAMES, answer_operation


class Played:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def kick(self, *arguments: Any) -> Message:
        self.asked.append(arguments)
        return {"ended": []}

    async def unblock(self, *arguments: Any) -> Message:
        raise Refused("not-found", "the node is not blocked there")


async def ask(played: Played, name: str, **arguments: Any) -> Message:
    return await answer_operation(cast("Operations", played), name, {"do": name, **arguments})


async def test_an_answer() -> None:
    played = Played()
    assert await ask(played, "kick", node="a") == {"ok": True, "ended": []}
    ((wish, by),) = played.asked
    assert (wish.node, wish.close_code, by) == ("a", 1008, BY)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("nonsense", {}, "does not know that command"),
        ("kick", {}, "Value error, allowed: with node or session"),
        ("kick", {"node": 1}, "node: "),
        ("kick", {"node": "a", "other": 1}, "other: "),
        ("sessions", {"limit": 0}, "limit: "),
        ("unblock", {"node": "a"}, "not blocked there"),
    ],
)
async def test_refusals(name: str, arguments: dict[str, Any], expected: str) -> None:
    answer = await ask(Played(), name, **arguments)
    assert answer["ok"] is False
    assert expected in answer["reason"]


def test_the_names() -> None:
    assert {"sessions", "ends", "kick", "block", "readiness", "log-level"} <= NAMES
