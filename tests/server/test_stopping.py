"""Words to stop, one after the other: what the fleet is told, and when. Time is mocked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.server.fleet import Fleet, InForce, StopOrder
from gateway.server.stopping import IMPATIENT_AFTER, Stopping

Clock = trio.testing.MockClock
LIMITED = StopOrder(1.0, 60.0)
PATIENT = StopOrder(1.0, None)
CUT = "cut short"


class PlayedFleet:
    """Notes what it is told, and when."""

    def __init__(self, pre_stop: str) -> None:
        config = GatewayConfig.model_validate(
            {
                "state_dir": "/nowhere",
                "listeners": [{"address": "127.0.0.1:0"}],
                "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
                "shutdown": {"drain_timeout": "60s", "drain_spread": "1s", "pre_stop": pre_stop},
            }
        )
        self.in_force = InForce(config, 1)
        self.orders: list[StopOrder | str] = []
        self.stopped_at: float | None = None

    @property
    def is_stopping(self) -> bool:
        return self.stopped_at is not None

    def stop(self, ending: StopOrder) -> None:
        if not self.is_stopping:
            self.stopped_at = trio.current_time()
        self.orders.append(ending)

    def hurry(self) -> None:
        self.orders.append(CUT)


@asynccontextmanager
async def stopping(pre_stop: str = "0s") -> AsyncIterator[tuple[Stopping, PlayedFleet]]:
    fleet = PlayedFleet(pre_stop)
    it = Stopping(lambda: cast("Fleet", fleet))
    with capture_logs():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.run)
            await trio.testing.wait_all_tasks_blocked()
            yield it, fleet
            nursery.cancel_scope.cancel()


def say(it: Stopping, word: str) -> None:
    if word == "drain":
        it.ask("control socket")
    else:
        it.signal(word, limited=word != "QUIT")


@pytest.mark.parametrize(
    ("words", "orders"),
    [
        ("TERM", [LIMITED]),
        ("TERM TERM", [LIMITED, CUT]),
        ("TERM INT", [LIMITED, CUT]),
        ("QUIT", [PATIENT]),
        ("QUIT QUIT", [PATIENT, CUT]),
        ("QUIT TERM", [PATIENT, LIMITED]),
        ("QUIT TERM TERM", [PATIENT, LIMITED, CUT]),
        ("QUIT drain", [PATIENT, LIMITED]),
        ("QUIT drain TERM", [PATIENT, LIMITED, CUT]),
        ("drain", [LIMITED]),
        ("drain drain", [LIMITED]),
        ("drain TERM", [LIMITED]),  # a preStop hook, and the kubelet
        ("drain TERM TERM", [LIMITED, CUT]),
        ("drain QUIT", [LIMITED]),
        ("TERM drain", [LIMITED]),
    ],
)
async def test_words_one_after_the_other(
    autojump_clock: Clock, words: str, orders: list[StopOrder | str]
) -> None:
    async with stopping() as (it, fleet):
        assert not it.is_asked
        for word in words.split():
            say(it, word)
            assert it.is_asked
            await trio.sleep(IMPATIENT_AFTER)
        assert fleet.orders == orders


async def test_the_same_signal_twice_at_once(autojump_clock: Clock) -> None:
    async with stopping() as (it, fleet):
        it.signal("INT")
        await trio.sleep(IMPATIENT_AFTER / 2)
        it.signal("INT")
        await trio.sleep(1)
        assert fleet.orders == [LIMITED]


async def test_everything_is_served_as_before_for_a_while(autojump_clock: Clock) -> None:
    async with stopping("100s") as (it, fleet):
        say(it, "QUIT")
        await trio.sleep(50)
        say(it, "TERM")  # no reason to wait for less
        await trio.sleep(100)
        assert fleet.orders == [LIMITED]
        assert fleet.stopped_at == 100


async def test_impatience_ends_that_too(autojump_clock: Clock) -> None:
    async with stopping("100s") as (it, fleet):
        say(it, "TERM")
        await trio.sleep(50)
        say(it, "TERM")
        await trio.sleep(1)
        assert fleet.orders[0] == CUT  # the fleet takes no order after that
        assert fleet.stopped_at == 50
