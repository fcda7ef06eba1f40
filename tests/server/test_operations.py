"""Operations over played workers; whole gateways are in ``test_admin_processes``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.server.aside import Aside
from gateway.server.block_list import BlockList
from gateway.server.log_level import LogLevel
from gateway.server.operations import FRESH, Operations, Refused
from gateway.server.session_query import SessionQuery
from gateway.server.wishes import BlockWish, Kick, UnblockWish
from tests.server.test_session_query import session


class PlayedFleet:
    """``answers``: question -> process id -> what that worker says."""

    def __init__(self, config: GatewayConfig) -> None:
        self.in_force = SimpleNamespace(config=config, generation=1)
        self.answers: dict[str, dict[int, dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.spread = 0

    async def ask_all(self, question: str, **more: object) -> dict[Any, dict[str, Any]]:
        self.asked.append(question)
        await trio.sleep(0.1)
        found = self.answers.get(question, {})
        return {SimpleChild(pid): answer for pid, answer in found.items()}

    async def spread_settings(self) -> list[int]:
        self.spread += 1
        return [9]


class SimpleChild:
    def __init__(self, pid: int) -> None:
        self.process = SimpleNamespace(pid=pid)


class Rig:
    def __init__(self, folder: Path) -> None:
        config = GatewayConfig.model_validate(
            {
                "state_dir": str(folder),
                "listeners": [{"address": "127.0.0.1:0"}],
                "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
                "admin": {"token": "a-token-nobody-may-see"},
            }
        )
        self.fleet = PlayedFleet(config)
        aside = Aside()
        never = cast("Any", None)
        self.on = Operations(
            lambda: cast("Any", self.fleet),
            never,
            never,
            never,
            blocks=BlockList(folder, aside),
            level=LogLevel(),
            aside=aside,
        )


def live(node: str) -> dict[str, Any]:
    return session(node, since=1.0)


async def test_many_who_look_cost_no_more_than_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig(tmp_path)
    rig.fleet.answers["sessions"] = {1: {"sessions": [live("a")]}, 2: {}}
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(rig.on.sessions, SessionQuery())
    assert rig.fleet.asked == ["sessions"]
    found = await rig.on.sessions(SessionQuery(limit=1))
    assert (found["total"], found["partial"], found["missing_workers"]) == (1, True, [2])
    await trio.sleep(FRESH + 0.1)
    await rig.on.sessions(SessionQuery())
    assert len(rig.fleet.asked) == 2


async def test_an_end_is_seen_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig(tmp_path)
    rig.fleet.answers["sessions"] = {1: {"sessions": [live("a")]}}
    rig.fleet.answers["end"] = {1: {"ended": [{"node": "a"}]}}
    await rig.on.sessions(SessionQuery())
    with capture_logs() as logs:
        found = await rig.on.kick(Kick(node="a", reason="why"), "somebody")
    assert found["ended"] == [{"node": "a", "worker": 1}]
    (line,) = logs
    assert (line["event"], line["operator"]) == ("kick", "somebody")
    assert (line["details"]["node"], line["details"]["ended"]) == ("a", 1)
    # Also where only a session's number was given.
    assert line["details"]["nodes"] == ["a"]
    rig.fleet.answers["sessions"] = {1: {"sessions": []}}
    assert (await rig.on.sessions(SessionQuery()))["total"] == 0


async def test_nobody_to_end(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(tmp_path)
    rig.fleet.answers["end"] = {1: {"ended": []}}
    with pytest.raises(Refused, match="no such session"):
        await rig.on.kick(Kick(node="a"), "somebody")
    rig.fleet.answers["end"][2] = {}  # who knows what it has
    assert (await rig.on.kick(Kick(node="a"), "somebody"))["missing_workers"] == [2]


async def test_blocks(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    wish = BlockWish(node="a", controller="main", duration_s=60)
    found = await rig.on.block(wish, "somebody")
    assert (found["kept"], found["missing_workers"], rig.fleet.spread) == (True, [9], 1)
    (block,) = (await rig.on.blocks())["items"]
    assert (block["node"], block["by"], block["until"] is None) == ("a", "somebody", False)
    with pytest.raises(Refused, match="it is at main"):
        await rig.on.unblock(UnblockWish(node="a"), "somebody")
    await rig.on.unblock(UnblockWish(node="a", controller="main"), "somebody")
    assert (await rig.on.blocks())["items"] == []
    with pytest.raises(Refused, match="no such controller; there are main"):
        await rig.on.block(BlockWish(node="a", controller="x"), "somebody")


async def test_secrets_stay_secret(tmp_path: Path) -> None:
    found = await Rig(tmp_path).on.configuration()
    assert found["configuration"]["admin"]["token"] == "***"
    assert "nobody-may-see" not in str(found)


async def test_the_last_ends_of_all_workers(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig(tmp_path)
    rig.fleet.answers["ends"] = {
        1: {"ends": [{"node": f"a{i}", "at": float(100 - i)} for i in range(0, 80, 2)]},
        2: {"ends": [{"node": f"b{i}", "at": float(100 - i)} for i in range(1, 80, 2)]},
        3: {},
    }
    found = await rig.on.ends()
    seconds = [datetime.fromisoformat(each["at"]).timestamp() for each in found["items"]]
    assert seconds == [float(100 - i) for i in range(50)]
    assert {each["worker"] for each in found["items"]} == {1, 2}
    assert (found["partial"], found["missing_workers"]) == (True, [3])
