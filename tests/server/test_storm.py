"""300 agents with real sessions lose their controller, and come back at the configured pace.

How fast is a matter of ``tests/agents/test_storm``, in mock time; here it is whether all parts play
together: no upgrade that fails, nobody who is forgotten.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio

from gateway.config.models import GatewayConfig
from gateway.demo.agent import SimulatedAgent, Step, StepKind
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.identity import InstanceIdentity
from tests.certificates import client_context
from tests.server.test_reloading import Reloader
from tests.server.workers import HOST, Worker, make_config, running_worker

AGENTS = 300
FAST, RATE = 100, 40  # handshakes a second, at first and in the storm
PLACES = 64  # handshakes at a time


class Crowd:
    """The agents and what happened to them."""

    def __init__(self, worker: Worker, controller: StandInController) -> None:
        self.worker = worker
        self.controller = controller
        self.steps: Counter[StepKind] = Counter()
        self.failed_upgrades: list[str] = []
        self.opened: list[float] = []
        self._open = 0
        self._changed = trio.Event()

    async def live(self, node: str) -> None:
        upgrading = False

        def observe(step: Step) -> None:
            nonlocal upgrading
            self.steps[step.kind] += 1
            if step.kind is StepKind.UPGRADE:
                upgrading = True
            elif step.kind is StepKind.PROBE:
                upgrading = False
            elif upgrading and step.kind in {StepKind.ANSWER, StepKind.FAILURE}:
                if step.answer is None or step.answer.status != 101:
                    self.failed_upgrades.append(step.text)
            elif step.kind is StepKind.OPEN:
                self._count(+1)
            elif step.kind is StepKind.CLOSED:
                self._count(-1)

        url, secret = f"https://{HOST}:{self.worker.tls}/", self.controller.secret(node)
        await SimulatedAgent(url, node, secret, tls=client_context(), observe=observe).run()

    def _count(self, more: int) -> None:
        self._open += more
        if more > 0:
            self.opened.append(trio.current_time())
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, count: int) -> None:
        while self._open != count:
            await self._changed.wait()


@pytest.mark.timeout(150)
async def test_300_sessions_come_back(tmp_path: Path) -> None:
    nodes = [f"node-{i}" for i in range(AGENTS)]
    controller = StandInController(dict.fromkeys(nodes, INBOUND), identity=InstanceIdentity())

    def config(rate: int) -> GatewayConfig:
        return make_config(
            tmp_path, controller.url, agents={"handshake_rate": rate}, log={"access": {"to": "off"}}
        )

    async def run_controller(
        scope: trio.CancelScope, *ports: int, task_status: trio.TaskStatus[None]
    ) -> None:
        agent_port, http_port = ports or (0, 0)
        with scope:
            await controller.run(
                agent_port=agent_port, http_port=http_port, task_status=task_status
            )

    async with trio.open_nursery() as nursery:
        first_life = trio.CancelScope()
        await nursery.start(run_controller, first_life)
        async with running_worker(config(FAST)) as worker:
            crowd = Crowd(worker, controller)
            for node in nodes:
                nursery.start_soon(crowd.live, node)
            await crowd.wait_for(AGENTS)
            await Reloader(worker).reload(config(RATE))
            ports = controller.agent_address[1], controller.http_address[1]
            crowd.opened.clear()
            crowd.steps.clear()
            crowd.failed_upgrades.clear()
            first_life.cancel()
            await crowd.wait_for(0)
            await trio.sleep(0.5)
            await nursery.start(run_controller, trio.CancelScope(), *ports)
            await crowd.wait_for(AGENTS)
            assert (await Reloader(worker).status())["sessions"] == AGENTS
            nursery.cancel_scope.cancel()
    assert crowd.failed_upgrades == []
    assert crowd.steps[StepKind.UPGRADE] == AGENTS  # one each
    # Those at the controller, a second's worth at once, and then so many a second.
    for i, at in enumerate(crowd.opened[PLACES + 2 * RATE :]):
        assert at - crowd.opened[i] >= 0.5
