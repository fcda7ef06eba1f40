"""kill -9 of agents and controllers at random points of two hundred sessions.

Real processes and real time; the gateway is in this one, so that its tasks can be counted. Every
run is another one: the seed is printed, and ``GATEWAY_TEST_SEED`` repeats its choices, though not
the kernel's.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.config.models import GatewayConfig
from tests.agents.bridge import in_use, running_gateway
from tests.certificates import write
from tests.faults.link import WatchedRegistry, live_objects
from tests.peers.forked import ControllerPeer, ForkedPeers, Peer, forked_peers

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

SESSIONS: Final = 200
CONTROLLERS: Final = 10
# Of each controller: some agents die before their session begins.
NODES: Final = 100
AT_ONCE: Final = 3  # controllers


class _Story:
    """One controller and its agents, and when each of them dies."""

    def __init__(
        self, peers: ForkedPeers, controller: ControllerPeer, url: str, rng: random.Random
    ) -> None:
        self._peers = peers
        self._controller = controller
        self._url = url
        self._rng = rng
        self._opened = 0
        self._missing = SESSIONS // CONTROLLERS + rng.randrange(5)
        self._enough = trio.Event()
        self.outcomes: Counter[str] = Counter()

    async def tell(self) -> None:
        """Start agents until there have been enough sessions; kill the controller among them."""
        async with trio.open_nursery() as nursery:
            for node in self._controller.secrets:
                nursery.start_soon(self._live, node)
                await trio.sleep(self._rng.uniform(0, 0.05))
                if self._enough.is_set():
                    break
            with trio.fail_after(60):  # a busy machine opens the last of them late
                await self._enough.wait()
            await self._peers.kill(self._controller.pid)

    async def _live(self, node: str) -> None:
        """Let one agent live until its turn to die has come, or until it ends by itself."""
        in_handshake = self._rng.random() < 0.3
        secret = self._controller.secrets[node]
        agent = await self._peers.start_agent(self._url, node, secret)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for_the_end, agent, nursery.cancel_scope)
            if not in_handshake:
                await agent.opened.wait()
                self._opened += 1
                if self._opened >= self._missing:
                    self._enough.set()
            await trio.sleep(self._rng.uniform(0, 0.03 if in_handshake else 0.6))
            nursery.cancel_scope.cancel()
        await self._peers.kill(agent.pid)
        self.outcomes[agent.outcome] += 1

    @staticmethod
    async def _wait_for_the_end(agent: Peer, scope: trio.CancelScope) -> None:
        with trio.fail_after(30):
            await agent.ended.wait()
        scope.cancel()


def _config(folder: Path, controllers: list[ControllerPeer]) -> GatewayConfig:
    certificate = write(folder, "127.0.0.1").model_dump(mode="json")
    names = [f"c{number}" for number in range(len(controllers))]
    value: dict[str, Any] = {
        "state_dir": str(folder),
        "listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [certificate]}}],
        "controllers": {
            name: {"url": peer.url} for name, peer in zip(names, controllers, strict=True)
        },
        "routes": [{"id": name, "controller": name} for name in names],
    }
    return GatewayConfig.model_validate(value)


async def test_kill_agents_and_controllers(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry
) -> None:
    seed = int(os.environ.get("GATEWAY_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"GATEWAY_TEST_SEED={seed}")
    rng = random.Random(seed)
    objects = live_objects()
    async with forked_peers() as peers:
        controllers = [
            await peers.start_controller([f"agent-{number}" for number in range(NODES)], f"/c{n}")
            for n in range(CONTROLLERS)
        ]
        async with running_gateway(_config(tmp_path, controllers)) as port:
            await trio.testing.wait_all_tasks_blocked()
            before = in_use()
            outcomes: Counter[str] = Counter()
            places = trio.CapacityLimiter(AT_ONCE)

            async def tell(number: int) -> None:
                url = f"https://127.0.0.1:{port}/c{number}/"
                story = _Story(peers, controllers[number], url, random.Random(rng.random()))
                async with places:
                    await story.tell()
                outcomes.update(story.outcomes)

            async with trio.open_nursery() as nursery:
                for number in range(CONTROLLERS):
                    nursery.start_soon(tell, number)
            await _wait_until_idle(before)
            assert len(registry) == 0
            _account(log, outcomes)
    assert live_objects() == objects


async def _wait_until_idle(before: tuple[int, int]) -> None:
    deadline = trio.current_time() + 20
    while in_use() != before:
        assert trio.current_time() < deadline, f"{in_use()} tasks and descriptors, not {before}"
        await trio.sleep(0.05)


def _account(log: LogCapture, outcomes: Counter[str]) -> None:
    """Check that each session has one beginning and one end, and that nothing else went wrong."""
    lines = Counter(line["event"] for line in log.entries)
    ended = [line for line in log.entries if line["event"] == "session ended"]
    print(f"agents: {dict(outcomes)}")
    print(f"lines: {dict(lines)}")
    print(f"ends: {dict(Counter((line['by'], line['reason']) for line in ended))}")
    started = [line["session"] for line in log.entries if line["event"] == "session started"]
    assert len(set(started)) == len(started)
    assert sorted(started) == sorted(line["session"] for line in ended)
    assert len(started) >= SESSIONS
    assert {line["by"] for line in ended} == {"agent", "controller"}
    assert not [line for line in log.entries if line["event"] == "internal error"]
