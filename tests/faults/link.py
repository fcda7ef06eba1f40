"""Agent, gateway and controller in this process, with a middle-box on either leg.

    agent -- agent_box -- gateway (TLS) -- controller_box -- controller (TLS)

Owns: starting all of it, and what must be true again when a session has ended.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.agents.registry import Entry, Registry
from gateway.agents.session import AgentSession
from gateway.demo.agent import Attempted, SimulatedAgent, trusting_anybody
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import Behaviour, CommandChannel, StandInChannel, command, echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.runtime.session_end import Endable
from gateway.transport.stream import Stream
from gateway.transport.tls import TlsEngine
from tests.agents.bridge import in_use, make_config, running_gateway
from tests.certificates import write
from tests.peers.middlebox import Crossing, Middlebox
from tests.peers.scripted_controller import own_identity

NODE: Final = "linux-1"

Line = dict[str, Any]


class WatchedRegistry(Registry):
    """A registry that says when sessions are over: looking every so often takes mock time."""

    def __init__(self) -> None:
        super().__init__()
        self.over = 0
        self._changed = trio.Event()

    @contextmanager
    def register(self, session: Endable, entry: Entry | None = None) -> Iterator[None]:
        """Hold an entry, and count when it is given back."""
        with super().register(session, entry):
            yield
        self.over += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_until_over(self, count: int) -> None:
        """Wait until ``count`` sessions have come and gone."""
        while self.over < count:
            await self._changed.wait()


class Link:
    """What is running, and what is known about it."""

    def __init__(
        self,
        controller: StandInController,
        agent_box: Middlebox,
        controller_box: Middlebox,
        log: LogCapture,
        registry: WatchedRegistry,
        nursery: trio.Nursery,
    ) -> None:
        self.controller = controller
        self.agent_box = agent_box
        self.controller_box = controller_box
        self._log = log
        self._registry = registry
        self._nursery = nursery
        self._ended = 0
        gc.collect()  # what earlier tests have left behind in cycles may hold descriptors
        self._before = in_use()
        self._agent = self.new_agent()

    def new_agent(self, secret: str | None = None) -> SimulatedAgent:
        """Return the agent as it is after a restart: it has forgotten its cookie."""
        return SimulatedAgent(
            f"https://127.0.0.1:{self.agent_box.port}/",
            NODE,
            self.controller.secret(NODE) if secret is None else secret,
            tls=trusting_anybody(),
        )

    async def come_again(self, agent: SimulatedAgent | None = None) -> Attempted:
        """Have the agent connect once more: the same process, or ``agent``."""
        return await (agent or self._agent).connect(self._nursery)

    async def connect(self, behaviour: Behaviour | None = None) -> Attempted:
        """Try once to open a session."""
        return await self._agent.connect(self._nursery, behaviour)

    async def open(self, behaviour: Behaviour | None = None) -> Session:
        """Open a session that ``behaviour`` uses at the agent's end; return all that is known."""
        number = len(self.agent_box.crossings) + 1
        agent = await self.connect(behaviour)
        assert isinstance(agent, AgentChannel), agent
        channel = await self.controller.wait_for_channel(NODE)
        return Session(
            agent,
            channel,
            await self.agent_box.wait_for_crossing(number),
            self.controller_box.crossings[-1],
        )

    async def wait_for_end(self) -> Line:
        """Return the line of the one session that has ended since the last call."""
        self._ended += 1
        await self._registry.wait_until_over(self._ended)
        assert len(self._registry) == 0
        started, ended = self.lines("session started"), self.lines("session ended")
        assert [line["session"] for line in started] == [line["session"] for line in ended]
        assert len(ended) == self._ended
        return ended[-1]

    async def wait_until_over(self, count: int) -> None:
        """Wait until ``count`` sessions have come and gone."""
        await self._registry.wait_until_over(count)

    async def check_next(self) -> None:
        """Check that nothing is left of the sessions so far, and that the next one works."""
        await self.check_nothing_left()
        session = await self.open()
        await talk(session.agent)
        await session.agent.close(last_command=None)
        await self.wait_for_end()

    async def check_nothing_left(self) -> None:
        """Check that as many tasks and descriptors are there as before the first session.

        Whoever is cut off still holds its end: the agent and the boxes give it up here.
        """
        for crossing in (*self.agent_box.crossings, *self.controller_box.crossings):
            crossing.reset()
        await self.controller.wait_for_no_channel(NODE)
        for _ in range(100):
            await trio.testing.wait_all_tasks_blocked(0.01)
            if in_use() == self._before:
                return
        raise AssertionError(f"{in_use()} tasks and descriptors are there, not {self._before}")

    def lines(self, event: str) -> list[Line]:
        """Return the lines of ``event`` so far."""
        return [dict(line) for line in self._log.entries if line["event"] == event]


class Session:
    """Both ends of an open session, and its crossings of the two boxes."""

    def __init__(
        self,
        agent: AgentChannel,
        controller: StandInChannel,
        agent_leg: Crossing,
        controller_leg: Crossing,
    ) -> None:
        self.agent = agent
        self.controller = controller
        self.agent_leg = agent_leg
        self.controller_leg = controller_leg


@asynccontextmanager
async def running_link(
    folder: Path,
    log: LogCapture,
    registry: WatchedRegistry,
    *,
    on_channel: Behaviour | None = echo,
    count_objects: bool = False,
    agents: Mapping[str, object] | None = None,
) -> AsyncIterator[Link]:
    """Run everything inside the block. Afterwards nothing of it is left in this process.

    ``count_objects``: not even in memory; looking at all objects takes a moment. ``agents`` are
    more of the controller's.
    """
    before = live_objects() if count_objects else Counter()
    controller = StandInController({NODE: INBOUND}, identity=own_identity(), on_channel=on_channel)
    certificate = write(folder, "127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        controller_box = Middlebox(controller.agent_address)
        await nursery.start(controller_box.run)
        config = make_config(
            folder,
            controller.url,
            listener={"tls": {"certificates": [certificate.model_dump(mode="json")]}},
            agents={
                "address": f"127.0.0.1:{controller_box.port}",
                "identity": own_identity().header,
                **(agents or {}),
            },
        )
        async with running_gateway(config) as port:
            agent_box = Middlebox(("127.0.0.1", port))
            await nursery.start(agent_box.run)
            await trio.testing.wait_all_tasks_blocked()
            link = Link(controller, agent_box, controller_box, log, registry, nursery)
            yield link
            await link.check_nothing_left()
            assert len(registry) == 0
        nursery.cancel_scope.cancel()
    problems = [line for line in log.entries if line["event"] == "internal error"]
    assert problems == []
    if count_objects:
        assert live_objects() == before


def live_objects() -> Counter[str]:
    """Count what a session is made of, as far as it is still there once garbage is collected."""
    gc.collect()
    kinds = (AgentSession, Stream, TlsEngine)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


async def talk(channel: CommandChannel, *, size: int = 1000) -> None:
    """Send a command of ``size`` bytes and wait until it has come back."""
    said = command("are you there?", size=size)
    await channel.send_command(said)
    assert await channel.receive_command() == said
