"""Cancel at every await of an agent's request and of its session, closing included.

Theory of operation. An instrument counts the steps of the connection's tasks: from one await to the
next. A life is lived once to count them, and then again and again, each time cancelled at a later
step: once just before the step, so that the *next* await raises Cancelled without waiting, and once
just after it, so that the await is cancelled in which the task has begun to wait. Whatever the
step: both legs are closed, nothing is held, nothing but Cancelled comes out, and the next session
works, which needs the node, the one handshake place and the controller's cache.

The peers are real, and so is the time; the number of steps varies by a few with the kernel's mood.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.agents.registry import Registry
from gateway.demo.agent import SimulatedAgent, trusting_anybody
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import StandInChannel, command, echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import Close, Delay, Faults, Refuse, Stage
from gateway.demo.stream import ConnectionEnded
from gateway.errors import Draining
from gateway.http.connection import serve_connection
from gateway.runtime.session_end import SessionEnd, Side
from gateway.transport.stream import Stream
from tests.agents.bridge import leaving_nothing_behind, make_config, running_gateway
from tests.certificates import write
from tests.peers.scripted_controller import own_identity

NODE: Final = "linux-1"
# Everything here is over in a tenth of a second; this is for machines that are busy.
PATIENCE: Final = 10.0


class Probe(trio.abc.Instrument):
    """Count the steps of one task and of those it has started; cancel it at one of them.

    ``at``: which step, from 1; None only counts. ``early``: before it, not after it.
    """

    def __init__(self, at: int | None = None, *, early: bool = False) -> None:
        self.steps = 0
        self.counting = True
        self._at = at
        self._early = early
        self._root: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope()
        self.ended = trio.Event()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the body of the ``with`` for what is to be cancelled. Other exceptions pass."""
        self._root = trio.lowlevel.current_task()
        try:
            with self._scope:
                yield
        finally:
            self._root = None
            self.ended.set()

    @property
    def struck(self) -> bool:
        return self._scope.cancel_called

    @property
    def watching(self) -> bool:
        """Say whether there has been something to watch."""
        return self._root is not None or self.ended.is_set()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.counting and self._is_ours(task):
            self.steps += 1
            if self._early and self.steps == self._at:
                self._scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._early and self.counting and self._is_ours(task) and self.steps == self._at:
            self._scope.cancel()

    def _is_ours(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and self._root is not None:
            if task is self._root:
                return True
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
        return False


class Bridge:
    """A gateway whose next connection is watched by a probe, and its peers."""

    def __init__(
        self, controller: StandInController, registry: Registry, nursery: trio.Nursery
    ) -> None:
        self.controller = controller
        self.registry = registry
        self.nursery = nursery
        self.port = 0
        self.pinged = trio.Event()
        self._probe: Probe | None = None

    async def serve(self, stream: Stream, **options: Any) -> None:
        """Stand in for ``serve_connection``."""
        probe, self._probe = self._probe, None
        if probe is None:
            await serve_connection(stream, **options)
            return
        with probe.watch():
            await serve_connection(stream, **options)

    async def connect(self) -> AgentChannel | None:
        """Open a session as an agent; None if it comes to nothing."""
        self.pinged = trio.Event()
        agent = SimulatedAgent(
            f"https://127.0.0.1:{self.port}/",
            NODE,
            self.controller.secret(NODE),
            tls=trusting_anybody(),
            observe=lambda step: self.pinged.set() if step.kind.name == "PING" else None,
        )
        found = await agent.connect(self.nursery)
        return found if isinstance(found, AgentChannel) else None

    async def live(self, life: Life, probe: Probe) -> None:
        """Live ``life`` on a connection that ``probe`` watches; return when all ends are done."""
        self._probe = probe
        trio.lowlevel.add_instrument(probe)
        try:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_with, probe, nursery.cancel_scope)
                    await life(self, probe)
                    await probe.ended.wait()
                for attempt in self.controller.attempts:
                    await attempt.finished.wait()
                await self.controller.wait_for_no_channel(NODE)
        finally:
            trio.lowlevel.remove_instrument(probe)

    async def _end_with(self, probe: Probe, scope: trio.CancelScope) -> None:
        """The peers notice by themselves; the rest of the life is not needed."""
        await probe.ended.wait()
        scope.deadline = trio.current_time() + PATIENCE / 2

    async def check_next(self) -> None:
        """Check that a session works."""
        with trio.fail_after(PATIENCE):
            agent = await self.connect()
            assert agent is not None
            await talk(agent)
            await agent.close(last_command=None)
            await self.controller.wait_for_no_channel(NODE)


Life = Callable[[Bridge, Probe], Awaitable[None]]


async def talk(channel: AgentChannel) -> None:
    """Send a command of several chunks and wait for its echo."""
    said = command("", size=20_000)
    await channel.send_command(said)
    assert await channel.receive_command() == said


# -- lives -----------------------------------------------------------------------------------------


async def _converse(bridge: Bridge, agent: AgentChannel) -> None:
    await talk(agent)
    await agent.ping(b"ours")
    await first_of(bridge.pinged, agent.ended)
    await talk(agent)


async def first_of(*events: trio.Event) -> None:
    """Wait until one of ``events`` has happened."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait, event)


def whole_life(end: Callable[[Bridge, AgentChannel, StandInChannel], Awaitable[None]]) -> Life:
    """Return a life from the request to ``end``."""

    async def life(bridge: Bridge, probe: Probe) -> None:
        agent = await bridge.connect()
        if agent is None:
            return
        try:
            with suppress(ConnectionEnded, trio.EndOfChannel):
                await _converse(bridge, agent)
                await end(bridge, agent, await bridge.controller.wait_for_channel(NODE))
            await agent.ended.wait()
        finally:
            agent.kill()

    return life


def only_the_end(end: Callable[[Bridge, AgentChannel, StandInChannel], Awaitable[None]]) -> Life:
    """Return a life whose steps are only counted from its end on."""

    async def life(bridge: Bridge, probe: Probe) -> None:
        probe.counting = False
        agent = await bridge.connect()
        assert agent is not None
        try:
            channel = await bridge.controller.wait_for_channel(NODE)
            await talk(agent)
            probe.counting = True
            with suppress(ConnectionEnded, trio.EndOfChannel):
                await end(bridge, agent, channel)
            await agent.ended.wait()
        finally:
            agent.kill()

    return life


async def by_close_frame(bridge: Bridge, agent: AgentChannel, channel: StandInChannel) -> None:
    await agent.close(last_command=command("last"))


async def by_eof(bridge: Bridge, agent: AgentChannel, channel: StandInChannel) -> None:
    await agent.drop()


async def by_controller(bridge: Bridge, agent: AgentChannel, channel: StandInChannel) -> None:
    await channel.drop()


async def by_gateway(bridge: Bridge, agent: AgentChannel, channel: StandInChannel) -> None:
    for each in bridge.registry:
        each.end(SessionEnd.of(Side.GATEWAY, Draining()))


def refused(faults: Faults) -> Life:
    """Return the life of a request that a controller's ``faults`` bring to nothing."""

    async def life(bridge: Bridge, probe: Probe) -> None:
        bridge.controller.faults = faults
        try:
            assert await bridge.connect() is None
        finally:
            bridge.controller.faults = Faults()

    return life


async def leaving(bridge: Bridge, probe: Probe) -> None:
    """The life of an agent that leaves while the controller still thinks."""
    before = bridge.controller.attempts[-1]
    bridge.controller.faults = Faults({Stage.VERDICT: Delay(0.05)})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.connect)
            while not probe.ended.is_set():
                attempt = bridge.controller.attempts[-1]
                if attempt is not before and attempt.stage is Stage.VERDICT:
                    break
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
    finally:
        bridge.controller.faults = Faults()


# Each with the steps that it has at least: with fewer, the probe watched something else.
LIVES: Final[dict[str, tuple[Life, int]]] = {
    "a whole life": (whole_life(by_close_frame), 32),
    "the agent's EOF": (only_the_end(by_eof), 8),
    "the controller's end": (only_the_end(by_controller), 8),
    "the gateway's end": (only_the_end(by_gateway), 8),
    "a refusal": (refused(Faults({Stage.VERDICT: Refuse("ERROR: not today")})), 15),
    "a controller that breaks off": (refused(Faults({Stage.CAPABILITY: Close()})), 15),
    "an agent that leaves": (leaving, 12),
}


# -- the sweep -------------------------------------------------------------------------------------


@asynccontextmanager
async def bridge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    """Run a gateway whose handshakes have one place, whose cache keeps nothing, and that pings."""
    registry = Registry()
    monkeypatch.setattr("gateway.server.generation.Registry", lambda: registry)
    monkeypatch.setattr("gateway.agents.discovery.DISCOVERY_TTL", 0.0)
    monkeypatch.setattr("gateway.agents.discovery.FAILURE_TTL", 0.0)
    # A file that is open for a moment would be counted.
    monkeypatch.setattr("gateway.agents.ended_cookies.GATHER", 100_000.0)
    controller = StandInController({NODE: INBOUND}, identity=own_identity(), on_channel=echo)
    certificate = write(folder, "127.0.0.1").model_dump(mode="json")
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        made = Bridge(controller, registry, nursery)
        monkeypatch.setattr("gateway.server.worker.serve_connection", made.serve)
        config = make_config(
            folder,
            controller.url,
            listener={"tls": {"certificates": [certificate]}},
            limits={"controller_handshakes": 1},
        )
        keepalive = config.agents.keepalive.model_copy(update={"interval": 0.01})
        agents = config.agents.model_copy(update={"keepalive": keepalive})
        async with running_gateway(config.model_copy(update={"agents": agents})) as made.port:
            await made.check_next()
            yield made
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", LIVES)
async def test_every_await(
    name: str, tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    life, least = LIVES[name]
    async with bridge(tmp_path, monkeypatch) as made:
        counts = []
        for _ in range(3):
            probe = Probe()
            await made.live(life, probe)
            counts.append(probe.steps)
        print(f"{name}: {counts} steps")
        assert min(counts) >= least
        for early in (True, False):
            strikes = 0
            for at in itertools.count(1):
                probe = Probe(at, early=early)
                async with leaving_nothing_behind():
                    await made.live(life, probe)
                    assert len(made.registry) == 0
                strikes += probe.struck
                if not probe.struck and at > max(counts):
                    break
                await made.check_next()
            assert strikes >= least
        assert [line for line in log.entries if line["event"] == "internal error"] == []
        check_accounts(log)


def check_accounts(log: LogCapture) -> None:
    """Check that each session that began has ended, once, in the log too."""
    started, ended = (
        sorted(line["session"] for line in log.entries if line["event"] == event)
        for event in ("session started", "session ended")
    )
    assert started == ended
