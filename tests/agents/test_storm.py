"""2,000 agents lose their controller and come back, in mock time.

The agents are made of what PROTOCOLS A.5 says of agent.jar: ``/login`` until 200, then the upgrade,
each with delays of 1, 3, 7, 10, 10 ... s. They meet the two places where an agent is metered,
``AgentLogin`` and the line, without the network in between.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from gateway.agents.discovery import Discovery
from gateway.agents.login import AgentLogin
from gateway.errors import ControllerUnreachable, GatewayError, LimitExceeded
from gateway.http.exchange import Exchange
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers
from gateway.runtime.drain import Drain
from gateway.runtime.handshakes import Handshakes

AGENTS = 2000
RATE = 50
AWAY = 33.4  # seconds; long enough for all to be at their longest delay


class _Away:
    """Discovery of a controller that is away at first."""

    async def check_ready(self, name: str, controller: object) -> None:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < AWAY:
            raise ControllerUnreachable("the controller is not ready for agents", for_agents=True)


class _Match:
    controller_id = "main"
    controller = None


class _Probe:
    """What ``AgentLogin`` looks at."""

    def __init__(self, host: str, agent: bytes = b"Java/17.0.9") -> None:
        self.match = _Match()
        self.request = RequestHead(b"GET", b"/login", b"1.1", Headers([(b"User-Agent", agent)]))
        self.client_address = host
        self.error_headers: list[Field] = []
        self.status = 0

    async def respond(self, status: int, fields: Sequence[Field], body: bytes) -> None:
        self.status = status


class Worker:
    """One worker's part in it."""

    def __init__(self, workers: int = 1) -> None:
        self.handshakes = Handshakes(Drain())
        self.handshakes.change(["main"], 64, rate=RATE, workers=workers)
        discovery = cast("Discovery", cast("Any", _Away()))
        self._login = AgentLogin(discovery, self.handshakes)

    async def login(self, probe: _Probe) -> bool:
        try:
            await self._login.serve(cast("Exchange", cast("Any", probe)))
        except GatewayError:
            return False
        assert probe.status == 200
        return True

    async def upgrade(self, host: str, *, takes: float) -> bool:
        try:
            async with self.handshakes.of("main").place(host):
                await trio.sleep(takes)
                return trio.current_time() >= AWAY
        except LimitExceeded:
            return False


@dataclass
class Storm:
    """The agents, how they behave, and what became of them."""

    agents: int = AGENTS
    workers: int = 1
    spread: float = 0.0  # over which they lose the controller; 0: all in step for ever
    sites: int = AGENTS  # addresses that they come from
    unprobing: int = 0  # agents that upgrade without asking first
    back_at: list[float] = field(default_factory=list)
    unprobing_back_at: list[float] = field(default_factory=list)
    failed_after_probe: int = 0

    async def run(self) -> None:
        self._servers = [Worker(self.workers) for _ in range(self.workers)]
        self._random = random.Random(5)
        async with trio.open_nursery() as nursery:
            for i in range(self.agents):
                nursery.start_soon(self._agent, i)

    async def _agent(self, i: int) -> None:
        host = f"10.0.{i % self.sites // 250}.{i % self.sites % 250}"
        chance = self._random
        await trio.sleep(chance.uniform(0, self.spread))
        probes = i >= self.unprobing
        delay = 0.0
        while probes and not await chance.choice(self._servers).login(_Probe(host)):
            delay = min(10, 2 * delay + 1)
            await trio.sleep(delay)
        delay = 0.0
        await trio.sleep(chance.uniform(0.02, 0.8))  # a connection, TLS, a slow machine
        while not await chance.choice(self._servers).upgrade(host, takes=chance.uniform(0.02, 0.3)):
            self.failed_after_probe += probes
            delay = min(10, 2 * delay + 1)
            await trio.sleep(delay)
        self.back_at.append(trio.current_time() - AWAY)
        if not probes:
            self.unprobing_back_at.append(self.back_at[-1])

    @property
    def all_back(self) -> float:
        return max(self.back_at)

    def most_in_a_second(self) -> int:
        return max(
            sum(1 for other in self.back_at if at <= other < at + 1) for at in self.back_at[::10]
        )


@pytest.mark.parametrize(
    "storm",
    [
        pytest.param(Storm(), id="all in step"),
        pytest.param(Storm(spread=10), id="spread"),
        pytest.param(Storm(sites=1), id="one site in step"),
        pytest.param(Storm(1000, sites=3, spread=3), id="three sites"),
        pytest.param(Storm(1000, workers=2, spread=10), id="two workers"),
        pytest.param(Storm(workers=4), id="four workers in step"),
        pytest.param(Storm(1000, workers=4, sites=1), id="four workers, one site in step"),
        pytest.param(Storm(1000, workers=8, spread=10), id="eight workers"),
        pytest.param(Storm(workers=16), id="sixteen workers in step"),
        pytest.param(Storm(1000, workers=64, spread=10), id="sixty-four workers"),
        pytest.param(Storm(unprobing=500, spread=10), id="a quarter does not probe"),
    ],
)
async def test_all_are_back_in_time(storm: Storm, autojump_clock: MockClock) -> None:
    await storm.run()
    assert len(storm.back_at) == storm.agents
    assert storm.all_back <= storm.agents / RATE + 15
    assert storm.failed_after_probe == 0
    if storm.unprobing:  # first come, first served, whoever asks how
        average = sum(storm.back_at) / storm.agents
        assert abs(sum(storm.unprobing_back_at) / storm.unprobing - average) < 5
    # What the controller had to bear: the pace, and what a rest had left over.
    assert storm.most_in_a_second() <= 2.5 * RATE
