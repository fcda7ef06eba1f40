"""An agent comes back while its old session is still there, at a controller that speaks WebSocket.

The same rules as in ``test_takeover``; here the controller says so in a page of an answer. Mock
time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.demo.agent import Attempted, SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from tests.agents.bridge import SECRET, make_config, running_gateway
from tests.peers.middlebox import Fault, Lane, Middlebox
from tests.peers.raw_frames import CLOSE
from tests.peers.ws_nodes import NodesController

# One that an error page escapes.
NODE: Final = "r&d <1>"


class Relayed:
    """A gateway between a middle-box and a controller."""

    def __init__(
        self, controller: NodesController, box: Middlebox, log: LogCapture, nursery: trio.Nursery
    ) -> None:
        self.controller = controller
        self.box = box
        self._log = log
        self._nursery = nursery

    def agent(self, secret: str = SECRET) -> SimulatedAgent:
        return SimulatedAgent(f"http://127.0.0.1:{self.box.port}/", NODE, secret)

    async def come(self, agent: SimulatedAgent) -> Attempted:
        return await agent.connect(self._nursery)

    async def open(self, agent: SimulatedAgent) -> AgentChannel:
        found = await self.come(agent)
        assert isinstance(found, AgentChannel), found
        return found

    def ended(self) -> list[dict[str, Any]]:
        return [dict(line) for line in self._log.entries if line["event"] == "session ended"]


@asynccontextmanager
async def relayed(
    folder: Path, log: LogCapture, *, takeover: str = "when-dead"
) -> AsyncIterator[Relayed]:
    controller = NodesController({NODE: SECRET, "other": "0" * 64})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        agents = {"transport": "websocket", "takeover": takeover}
        async with running_gateway(make_config(folder, controller.url, agents=agents)) as port:
            box = Middlebox(("127.0.0.1", port))
            await nursery.start(box.run)
            yield Relayed(controller, box, log, nursery)
            for crossing in box.crossings:
                crossing.reset()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [b"400 Bad Request", b"500 Internal Server Error"])
async def test_restarted_after_the_cable_was_pulled(
    status: bytes, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    async with relayed(tmp_path, log) as link:
        link.controller.refusal_status = status
        await link.open(link.agent())
        await trio.sleep(25)
        link.box.crossings[0].strike(Fault.BLACK_HOLE)
        began = trio.current_time()
        await link.open(link.agent())
        assert trio.current_time() - began < 8
        assert len(link.controller.ends) == 2
        (line,) = link.ended()
        assert line["reason"] == "taken over by 127.0.0.1"
        assert (line["node"], line["by"], line["close_code"]) == (NODE, "gateway", 1008)
        assert line["transport"] == "websocket"
        assert line["to_controller_idle_s"] >= 0


async def test_the_same_process(tmp_path: Path, log: LogCapture, clock: MockClock) -> None:
    """Jenkins sends its old channel a Close frame; the agent's answer is waited for, for 5 s."""
    async with relayed(tmp_path, log) as link:
        agent = link.agent()
        await link.open(agent)
        link.box.crossings[0].strike(Fault.BLACK_HOLE)
        began = trio.current_time()
        await link.open(agent)
        assert trio.current_time() - began < 6
        assert link.ended()[0]["by"] == "controller"


async def test_the_controller_cannot_end_its_channel(
    tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    async with relayed(tmp_path, log) as link:
        agent = link.agent()
        await link.open(agent)
        link.box.crossings[0].strike(Fault.BLACK_HOLE)
        link.controller.disconnects = False
        began = trio.current_time()
        await link.open(agent)
        assert 15 < trio.current_time() - began < 17
        assert link.ended()[0]["reason"] == "taken over by 127.0.0.1"


async def test_a_healthy_session_is_kept(tmp_path: Path, log: LogCapture, clock: MockClock) -> None:
    async with relayed(tmp_path, log) as link:
        channel = await link.open(link.agent())
        link.box.crossings[0].change(Lane(delay=1.0))
        await trio.sleep(30)
        newcomer = link.agent()
        newcomer.cookie = "ab" * 32
        found = await link.come(newcomer)
        assert isinstance(found, Answer)
        assert found.status == 400
        said = found.header("X-Gateway-Error") or ""
        assert re.fullmatch(
            re.escape(
                f"{NODE} is already connected to this controller. Rejecting this connection."
                " The other one is connected from 127.0.0.1 since "
            )
            + r"\S+Z\. It is alive\.",
            said,
        )
        assert newcomer.cookie == "ab" * 32, "it is echoed"
        assert channel.end is None
        assert link.ended() == []


@pytest.mark.parametrize("secret", ["5ec7e7" * 8, "0" * 64])
async def test_a_wrong_secret_touches_nothing(
    secret: str, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    async with relayed(tmp_path, log) as link:
        agent = link.agent()
        await link.open(agent)
        link.box.crossings[0].strike(Fault.BLACK_HOLE)
        await trio.sleep(45)
        guesser = link.agent(secret)
        guesser.cookie = agent.cookie
        found = await link.come(guesser)
        assert isinstance(found, Answer)
        assert found.status == 403
        assert link.ended() == []
        assert NODE in link.controller.live


async def test_no_remembered_cookie_is_presented(
    tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    """An agent keeps its cookie here, and may live elsewhere with it by now: directly, say."""
    async with relayed(tmp_path, log) as link:
        agent = link.agent()
        channel = await link.open(agent)
        await channel.close(last_command=None)
        while NODE in link.controller.live:  # noqa: ASYNC110
            await trio.sleep(0.1)
        direct = SimulatedAgent(link.controller.url, NODE, SECRET)
        direct.cookie = agent.cookie
        healthy = await link.open(direct)
        found = await link.come(link.agent())
        assert isinstance(found, Answer)
        assert found.status == 400
        assert healthy.end is None
        assert NODE in link.controller.live
        healthy.kill()


async def test_always(tmp_path: Path, log: LogCapture, clock: MockClock) -> None:
    async with relayed(tmp_path, log, takeover="always") as link:
        old = await link.open(link.agent())
        await link.open(link.agent())
        await old.ended.wait()
        assert old.close_code == 1008
        ghost = link.controller.ends[0]
        await ghost.over.wait()
        (close,) = (payload for opcode, payload in ghost.frames if opcode == CLOSE)
        assert int.from_bytes(close[:2]) == 1001, "to the controller an agent has left"
