"""What ``status`` says of a fleet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway.server.children import Child, State
from gateway.server.control import Message
from gateway.server.fleet import Fleet, InForce
from gateway.server.reloader import Reload
from gateway.server.status import describe
from tests.server.played import played_child
from tests.server.test_fleet import make_config

EPOCH = 1_700_000_000.0


class PlayedFleet:
    """Answers what ``describe`` asks."""

    def __init__(self, *answers: tuple[Child, Message]) -> None:
        self.in_force = InForce(make_config(), 5)
        self.incarnation = 2
        self.is_settled = True
        self.is_serving = True
        self.addresses = ["127.0.0.1:8443"]
        self.restarts = 3
        self._answers = dict(answers)

    async def statuses(self) -> dict[Child, Message]:
        return self._answers


@pytest.fixture
async def children() -> AsyncIterator[list[Child]]:
    made = [played_child(slot) for slot in (1, 0, 0)]
    yield [child for child, _ in made]
    for child, worker in made:
        await child.control.aclose()
        await worker.control.aclose()


async def status(fleet: PlayedFleet, *, draining: bool = False) -> Message:
    found = await describe(
        cast("Fleet", fleet),
        configuration="run -c gateway.yaml",
        last_reload=Reload("2026-01-01T00:00:00+00:00", "SIGHUP", 5, "no such key"),
        started=EPOCH,
        draining=draining,
    )
    return cast("Message", json.loads(json.dumps(found)))


async def test_everything_is_there(children: list[Child]) -> None:
    one, other, silent = children
    for child in children:
        child.state, child.started, child.incarnation = State.SERVING, EPOCH, 2
    silent.incarnation, silent.state, silent.linger_until = 1, State.LINGERING, EPOCH + 60
    fleet = PlayedFleet(
        (one, {"sessions": 3, "connections": 5}),
        (other, {"sessions": 0, "connections": 1}),
        (silent, {}),
    )
    found = await status(fleet)
    assert (found["state"], found["ready"], found["started"]) == (
        "serving",
        True,
        "2023-11-14T22:13:20+00:00",
    )
    assert (found["sessions"], found["connections"], found["restarts"]) == (3, 6, 3)
    assert (found["generation"], found["incarnation"], found["upgraded"]) == (5, 2, True)
    assert found["listeners"] == ["127.0.0.1:8443"]
    assert found["last_reload"] == {
        "at": "2026-01-01T00:00:00+00:00",
        "trigger": "SIGHUP",
        "generation": 5,
        "reason": "no such key",
        "ok": False,
    }
    old, first, second = found["workers"]  # by age and slot
    assert (old["state"], old["sessions"]) == ("lingering", None)
    assert old["linger_until"] == "2023-11-14T22:14:20+00:00"
    assert (first["slot"], first["sessions"]) == (0, 0)
    assert (second["slot"], second["sessions"], second["connections"]) == (1, 3, 5)


@pytest.mark.parametrize(
    ("incarnation", "settled", "serving", "draining", "state", "ready"),
    [
        (1, False, False, False, "starting", False),
        (1, False, True, False, "starting", True),  # one of several serves already
        (2, False, True, False, "upgrading", True),
        (1, True, True, False, "serving", True),
        (1, True, False, False, "recovering", False),
        (1, True, True, True, "draining", False),
    ],
)
async def test_words_for_what_it_does(
    incarnation: int, *, settled: bool, serving: bool, draining: bool, state: str, ready: bool
) -> None:
    fleet = PlayedFleet()
    fleet.incarnation, fleet.is_settled, fleet.is_serving = incarnation, settled, serving
    found = await status(fleet, draining=draining)
    assert (found["state"], found["ready"]) == (state, ready)


@pytest.mark.parametrize(
    ("incarnation", "settled", "upgraded"), [(1, True, False), (2, False, False), (2, True, True)]
)
async def test_whether_it_is_upgraded(incarnation: int, *, settled: bool, upgraded: bool) -> None:
    fleet = PlayedFleet()
    fleet.incarnation, fleet.is_settled = incarnation, settled
    assert (await status(fleet))["upgraded"] is upgraded
