"""The whole gateway's numbers: workers that end, are silent, or come from another program."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from gateway.config.models import GatewayConfig
from gateway.observability.metrics import table
from gateway.observability.metrics.samples import Samples, Value
from gateway.server.children import Child, State
from gateway.server.fleet import Fleet, InForce
from gateway.server.metrics import ASK_EVERY, Facts, GatewayMetrics, resident
from gateway.server.reloader import Reload

NOW = 1_780_000_000.0
OPENED = ("main", "jnlp4")


@dataclass(eq=False)
class PlayedProcess:
    pid: int


@dataclass(eq=False)
class PlayedChild:
    """A worker as far as it is looked at here; ``opened`` is what it would answer."""

    slot: int
    opened: int = 0
    incarnation: int = 1
    state: State = State.SERVING
    samples: Samples = field(default_factory=Samples)
    answers: bool = True
    pid: int = 0
    live: int = 0
    linger_until: float | None = None

    def __post_init__(self) -> None:
        self.process = PlayedProcess(self.pid or os.getpid())

    def answer(self) -> dict[str, Any]:
        """Answer, as the real one notes it."""
        if not self.answers:
            return {}
        samples = Samples()
        samples.add(table.SESSIONS_OPENED, self.opened, *OPENED)
        samples.add(table.CONNECTIONS, 5)
        samples.add(table.SESSIONS, self.live, *OPENED, "open")
        samples.add(table.SESSIONS, 1, *OPENED, "closing")
        self.samples = Samples.of_words(json.loads(json.dumps(samples.in_words())))
        return {"metrics": samples.in_words()}


class PlayedFleet:
    incarnation = 2
    restarts = 3
    is_serving = True
    is_settled = True

    def __init__(self, *children: PlayedChild, **metrics: Any) -> None:
        self.children = children
        self.asked = 0
        config = GatewayConfig.model_validate(
            {
                "listeners": [{"address": "127.0.0.1:0"}],
                "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
                "metrics": metrics,
            }
        )
        self.in_force = InForce(config, 7)

    async def ask_all(self, question: str) -> dict[PlayedChild, dict[str, Any]]:
        assert question == "metrics"
        self.asked += 1
        return {child: child.answer() for child in self.children}


def gateway(fleet: PlayedFleet, **more: Any) -> GatewayMetrics:
    return GatewayMetrics(
        lambda: cast("Fleet", fleet), lambda: Facts(NOW, None), clock=lambda: NOW, **more
    )


async def opened(metrics: GatewayMetrics) -> Value:
    return (await metrics.samples()).of(table.SESSIONS_OPENED)[OPENED]


def ended(metrics: GatewayMetrics, fleet: PlayedFleet, child: PlayedChild) -> None:
    fleet.children = tuple(each for each in fleet.children if each is not child)
    metrics.worker_ended(cast("Child", child))


async def test_workers_are_added_up() -> None:
    found = await gateway(PlayedFleet(PlayedChild(0, 3), PlayedChild(1, 4))).samples()
    assert found.of(table.SESSIONS_OPENED) == {OPENED: 7}
    assert found.of(table.CONNECTIONS) == {(): 10}
    assert found.of(table.WORKER_UP) == {("1.0",): 1, ("1.1",): 1}
    assert found.of(table.WORKER_SESSIONS) == {("1.0",): 1, ("1.1",): 1}
    assert found.of(table.WORKER_LINGER) == {}
    assert found.of(table.WORKERS)["serving",] == 2
    assert found.of(table.WORKER_RESTARTS) == {(): 3}
    assert found.of(table.GENERATION) == {(): 7}


async def test_a_worker_that_ends_leaves_its_counts_and_no_state() -> None:
    one, other = PlayedChild(0, 3, live=2), PlayedChild(1, 4)
    fleet = PlayedFleet(one, other)
    metrics = gateway(fleet)
    assert await opened(metrics) == 7
    ended(metrics, fleet, one)
    found = await metrics.samples()
    assert found.of(table.SESSIONS_OPENED) == {OPENED: 7}
    assert found.of(table.CONNECTIONS) == {(): 5}
    # Sessions that it had are over as well; one that was being closed had ended already.
    assert found.of(table.SESSIONS_ENDED) == {
        (*OPENED, "gateway", "worker_died"): 2,
        ("main", "websocket", "gateway", "worker_died"): 0,
    }
    fleet.children = (*fleet.children, PlayedChild(0, 1))
    assert await opened(metrics) == 8


async def test_of_a_silent_worker_the_last_word_is_shown() -> None:
    child = PlayedChild(0, 3)
    metrics = gateway(PlayedFleet(child))
    assert await opened(metrics) == 3
    child.answers, child.opened = False, 9
    found = await metrics.samples()
    assert found.of(table.SESSIONS_OPENED) == {OPENED: 3}
    assert found.of(table.CONNECTIONS) == {(): 5}
    assert found.of(table.WORKER_UP) == {("1.0",): 0}
    child.answers = True
    found = await metrics.samples()
    assert found.of(table.SESSIONS_OPENED) == {OPENED: 9}
    assert found.of(table.WORKER_UP) == {("1.0",): 1}


async def test_one_that_lingers_says_until_when() -> None:
    child = PlayedChild(1, state=State.LINGERING, linger_until=NOW + 9)
    found = await gateway(PlayedFleet(child)).samples()
    assert found.of(table.WORKER_LINGER) == {("1.1",): NOW + 9}
    assert found.of(table.WORKERS)["lingering",] == 1


async def test_one_that_starts_is_not_silent() -> None:
    child = PlayedChild(0, state=State.STARTING, answers=False)
    found = await gateway(PlayedFleet(child)).samples()
    assert found.of(table.WORKER_UP) == {}
    assert found.of(table.WORKERS)["starting",] == 1


async def test_counts_go_on_in_the_next_program() -> None:
    gone, kept, dying = (PlayedChild(i, 10**i, pid=100 + i) for i in range(3))
    fleet = PlayedFleet(gone, kept, dying)
    before = gateway(fleet)
    before.reloaded(Reload("then", "test", 2))
    assert await opened(before) == 111
    ended(before, fleet, gone)
    left = json.loads(json.dumps(before.in_words()))

    taken = PlayedChild(1, 10, pid=101, answers=False)
    after = gateway(PlayedFleet(taken), heritage=left)
    after.adopt([cast("Child", taken)])
    found = await after.samples()
    assert found.of(table.SESSIONS_OPENED) == {OPENED: 111}
    assert found.of(table.CONNECTIONS) == {}  # states are asked anew
    assert found.of(table.RELOADS) == {("success",): 1, ("failure",): 0}
    taken.answers = True
    assert await opened(after) == 111


@pytest.mark.parametrize("left", [None, {}, {"ended": None, "children": {"7": "?"}}])
async def test_an_older_program_leaves_nothing(left: dict[str, Any] | None) -> None:
    metrics = gateway(PlayedFleet(PlayedChild(0, 2)), heritage=left)
    metrics.adopt([])
    assert await opened(metrics) == 2


async def test_an_upgrade_is_worth_more_than_its_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.metrics.MOST_LEFT", 100)
    metrics = gateway(PlayedFleet(PlayedChild(0, 1)))
    await metrics.samples()
    assert metrics.in_words() == {"in_force_since": NOW}


async def test_reloads() -> None:
    fleet = PlayedFleet()
    times = iter([10.0, 20.0, 30.0])
    metrics = GatewayMetrics(
        lambda: cast("Fleet", fleet), lambda: Facts(NOW, None), clock=lambda: next(times)
    )
    failure = Reload("now", "test", 7, "the file is wrong")
    metrics.reloaded(failure)
    metrics.reloaded(failure)  # the same, told twice
    found = await metrics.samples()
    assert found.of(table.RELOADS) == {("success",): 0, ("failure",): 1}
    assert found.of(table.RELOAD_OK) == {(): 0}
    assert found.of(table.RELOAD_AT) == {(): 10.0}  # the one in force is that of the start
    metrics.reloaded(Reload("now", "test", 8))
    found = await metrics.samples()
    assert found.of(table.RELOADS) == {("success",): 1, ("failure",): 1}
    assert found.of(table.RELOAD_OK) == {(): 1}
    assert found.of(table.RELOAD_AT) == {(): 20.0}


async def test_an_upgrade_that_found_a_wrong_file_is_a_failed_reload() -> None:
    failed = Reload("now", "upgrade", 2, "wrong")
    found = await gateway(PlayedFleet(), last_reload=failed).samples()
    assert found.of(table.RELOAD_OK) == {(): 0}


async def test_nodes_of_all_workers_together_are_bounded() -> None:
    children = [PlayedChild(i, answers=False) for i in range(3)]
    for i, child in enumerate(children):
        for k in range(2):
            names = "main", f"n{i}{k}"
            child.samples.add(table.NODE_START, 10 * k + i, *names)
            child.samples.add(table.NODE_ROUND_TRIP, 0.1, *names)
            child.samples.add(table.NODE_BYTES, 1, *names, "from_agent")
        child.samples.add(table.NODES_LEFT_OUT, 1)
    found = await gateway(PlayedFleet(*children, per_node=True, nodes=4)).samples()
    oldest = {("main", name) for name in ("n00", "n10", "n20", "n01")}
    assert set(found.of(table.NODE_START)) == oldest
    assert set(found.of(table.NODE_ROUND_TRIP)) == oldest
    assert {labels[:2] for labels in found.of(table.NODE_BYTES)} == oldest
    assert found.of(table.NODES_LEFT_OUT) == {(): 5}


async def test_workers_are_asked_now_and_then(autojump_clock: MockClock) -> None:
    fleet = PlayedFleet(PlayedChild(0))
    with trio.move_on_after(ASK_EVERY * 3.5):
        await gateway(fleet).run()
    assert fleet.asked == 4


async def test_what_is_scraped_is_text() -> None:
    kind, data = await gateway(PlayedFleet(PlayedChild(0, 3))).scrape()
    assert kind.startswith("text/plain; version=0.0.4")
    assert b'remoting_gateway_sessions_opened_total{controller="main",transport="jnlp4"} 3.0' in (
        data.splitlines()
    )


def test_memory() -> None:
    assert 10 * 2**20 < resident(os.getpid()) < 2**34
    assert resident(0) == 0
