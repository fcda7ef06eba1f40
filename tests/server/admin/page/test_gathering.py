"""What operations answer, as values of the page."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from gateway.server.admin.page.gathering import SELDOM, Gathering
from gateway.server.admin.page.values import Health
from gateway.server.operations import Operations, Refused
from gateway.server.wishes import Kick
from tests.server.admin.page.snapshots import session

AT = "2026-09-21T12:00:00+00:00"
SINCE = 1_789_992_000.0

STATUS: dict[str, Any] = {
    "state": "serving",
    "ready": True,
    "version": "0.1.0",
    "started": AT,
    "generation": 2,
    "restarts": 0,
    "connections": 5,
    "listeners": ["127.0.0.1:8080"],
    "workers": [
        {
            "worker": 7,
            "slot": 0,
            "state": "serving",
            "started": AT,
            "generation": 2,
            "sessions": 1,
            "connections": 5,
        },
        {
            "worker": 8,
            "slot": 1,
            "state": "serving",
            "started": AT,
            "generation": 2,
            "sessions": None,
            "connections": None,
        },
        {
            "worker": 9,
            "slot": 2,
            "state": "starting",
            "started": AT,
            "generation": 2,
            "sessions": None,
            "connections": None,
        },
    ],
}
SESSION: dict[str, Any] = {
    "session": "s1",
    "controller": "main",
    "node": "n",
    "client": "192.0.2.1",
    "transport": "jnlp4",
    "since": SINCE,
    "suspect": True,
    "takeovers": 1,
    "bytes_from_agent": 3,
    "bytes_to_agent": 4,
    "round_trip_ms": 12.5,
}
END: dict[str, Any] = {
    "at": AT,
    "controller": "main",
    "node": "n",
    "client": "192.0.2.1",
    "by": "agent",
    "reason": "gone",
    "close_code": 1011,
    "duration_s": 1.5,
    "bytes_from_agent": 1,
    "bytes_to_agent": 2,
    "worker": 7,
}
UP: dict[str, Any] = {"address": "10.0.0.1:80", "up": True, "ejected": False, "failures": 0}
DOWN: dict[str, Any] = {**UP, "address": "10.0.0.2:80", "up": False}
READY: dict[str, Any] = {"address": "10.0.0.1:50000", "identity": None, "minimum_version": None}
JNLP4: dict[str, Any] = {"transport": "jnlp4", "reason": "the agent port answers"}


def known(**more: Any) -> dict[str, Any]:
    return {"worker": 7, "sessions": 0, "addresses": [], "transport": None, "agent_port": None} | (
        more
    )


class PlayedOperations:
    """Answers as ``Operations`` does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.workers: list[dict[str, Any]] = [known(agent_port=READY, transport=JNLP4)]
        self.kicked: list[tuple[Kick, str]] = []
        self.hangs = False
        child = SimpleNamespace(process=SimpleNamespace(pid=7))
        silent = SimpleNamespace(process=SimpleNamespace(pid=8))
        starting = SimpleNamespace(process=SimpleNamespace(pid=9))

        async def ask_all(question: str) -> dict[Any, Any]:
            return {_Key(child): {"sessions": [SESSION]}, _Key(silent): {}, _Key(starting): {}}

        self.fleet = SimpleNamespace(ask_all=ask_all)

    async def status(self) -> dict[str, Any]:
        return copy.deepcopy(STATUS)

    async def ends(self) -> dict[str, Any]:
        return {"items": [END] * 200, "partial": True, "missing_workers": [8, 9]}

    async def controllers(self) -> dict[str, Any]:
        main = {
            "name": "main",
            "url": "http://jenkins.lan/",
            "protocol": "JNLP4-connect",
            "sessions": 1,
            "workers": self.workers,
        }
        return {"items": [main], "partial": True, "missing_workers": [8, 9]}

    async def reloads(self) -> dict[str, Any]:
        one = {"at": AT, "trigger": "SIGHUP", "generation": 2, "reason": None, "ok": True}
        return {"items": [one]}

    async def fingerprints(self) -> dict[str, Any]:
        self.asked.append("fingerprints")
        one = {
            "controller": "main",
            "network": "192.0.2.0/24",
            "seconds": 60.1,
            "count": 9,
            "total": 12,
            "last_at": SINCE,
            "text": "9 of 12",
        }
        return {"items": [one], "partial": True, "missing_workers": [8, 9]}

    async def certificates(self) -> dict[str, Any]:
        self.asked.append("certificates")
        if self.hangs:
            raise Refused("unavailable", "a file system does not answer")
        one = {"used_by": "admin", "file": "/tls.crt", "names": ["a"], "expires": AT}
        gone: dict[str, Any] = {"used_by": "admin", "file": "/no.crt", "names": [], "expires": None}
        return {"items": [one | {"problem": None}, gone | {"problem": "no such file"}]}

    async def kick(self, wish: Kick, by: str) -> dict[str, Any]:
        self.kicked.append((wish, by))
        if wish.session != "s00001":
            raise Refused("not-found", "there is no such session")
        return {"ended": [{"session": wish.session}], "partial": False, "missing_workers": []}

    async def timeline(self, node: str) -> dict[str, Any]:
        events = [
            {"time": "2026-09-21T12:00:00.000Z", "event": "opened", "controller": "main"},
            {"time": AT, "event": "ended", "controller": "other", "reason": "x"},
            {
                "time": AT,
                "event": "ended",
                "controller": "main",
                "reason": "gone",
                "close_code": None,
                "duration_s": 0,
            },
        ]
        return {"node": node, "items": events, "partial": True, "missing_workers": [8]}


class _Key:
    def __init__(self, child: SimpleNamespace) -> None:
        self.process = child.process


@pytest.fixture
def operations() -> PlayedOperations:
    return PlayedOperations()


@pytest.fixture
def gathering(operations: PlayedOperations) -> Gathering:
    return Gathering(cast("Operations", operations))


async def test_a_snapshot(gathering: Gathering) -> None:
    found = await gathering.snapshot()
    (row,) = found.sessions
    assert (row.id, row.node, row.since, row.suspect, row.worker) == ("s1", "n", SINCE, True, 7)
    assert row.round_trip == 0.0125
    assert (row.from_agent, row.to_agent) == (3, 4)
    assert found.ends[0].reason == "gone"
    assert len(found.ends) == 50
    assert found.timers[0].sentence == "9 of 12"
    assert found.started == SINCE
    assert [each.expires for each in found.certificates] == [SINCE, None]
    assert found.reloads[0].at == SINCE
    assert (found.connections, found.listeners) == (5, ("127.0.0.1:8080",))


async def test_a_worker_that_does_not_answer_is_named(gathering: Gathering) -> None:
    found = await gathering.snapshot()
    assert found.silent == (8,)  # and not 9, which has only just started
    assert [each.answered for each in found.workers] == [True, False, False]


async def test_what_takes_work_is_asked_for_now_and_then(
    gathering: Gathering, operations: PlayedOperations, autojump_clock: MockClock
) -> None:
    for _ in range(10):
        await gathering.snapshot()
        await trio.sleep(2)
    assert operations.asked == ["fingerprints", "certificates"]
    await trio.sleep(SELDOM)
    operations.hangs = True
    found = await gathering.snapshot()
    assert operations.asked == ["fingerprints", "certificates"] * 2
    assert len(found.certificates) == 2  # what was known


@pytest.mark.parametrize(
    ("workers", "health", "state", "detail"),
    [
        ([known(addresses=[UP], agent_port=READY)], Health.GOOD, "up", ""),
        ([known(addresses=[UP], sessions=3)], Health.GOOD, "up", ""),
        ([known(addresses=[UP])], Health.UNKNOWN, "nobody asked yet", ""),
        ([], Health.UNKNOWN, "nobody asked yet", ""),
        ([known(addresses=[DOWN])], Health.BAD, "down", "no answer from 10.0.0.2:80"),
        (
            [known(addresses=[UP, DOWN], agent_port=READY)],
            Health.WARNING,
            "partly up",
            "10.0.0.2:80 is down",
        ),
        (
            [known(addresses=[{**UP, "ejected": True}])],
            Health.BAD,
            "down",
            "no answer from 10.0.0.1:80",
        ),
        (
            [known(agent_port=READY), known(agent_port={"address": None, "reason": "refused"})],
            Health.BAD,
            "not ready for agents",
            "refused",
        ),
        (
            [known(transport={"transport": None, "reason": "no way"}, addresses=[DOWN])],
            Health.BAD,
            "down",
            "no way",
        ),
    ],
)
async def test_the_health_of_controllers(
    gathering: Gathering,
    operations: PlayedOperations,
    workers: list[dict[str, Any]],
    health: Health,
    state: str,
    detail: str,
) -> None:
    operations.workers = workers
    (row,) = (await gathering.snapshot()).controllers
    assert (row.health, row.state, row.detail) == (health, state, detail)


async def test_a_kick(gathering: Gathering, operations: PlayedOperations) -> None:
    assert await gathering.kick(session(1), "127.0.0.1")
    assert not await gathering.kick(session(2), "127.0.0.1")
    wish, by = operations.kicked[0]
    assert (wish.session, by) == ("s00001", "127.0.0.1")
    assert wish.reason


async def test_a_nodes_past(gathering: Gathering) -> None:
    found = await gathering.history("main", "n")
    assert [each.what for each in found.events] == ["ended", "opened"]
    assert found.events[0].details == (("reason", "gone"), ("duration", "0 s"))
    assert found.silent == (8,)
    assert len((await gathering.history("", "n")).events) == 3
