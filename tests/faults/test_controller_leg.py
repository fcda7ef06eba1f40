"""What networks do to the leg between gateway and controller, and what becomes of the session.

JNLP4 has no ping: a controller that is only silent keeps its sessions, however long. Mock time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import Source, sink
from gateway.demo.stream import ConnectionEnded, End
from tests.faults.link import WatchedRegistry, running_link, talk
from tests.peers.middlebox import Fault, Lane


@dataclass(frozen=True)
class Case:
    """A fault in an idle session that shows at once: what the agent is told, what the log says."""

    name: str
    up: Fault | None
    down: Fault | None
    reason: str
    told: int
    end: End | None = End.BARE_EOF  # what the controller sees, if anything

    def __str__(self) -> str:
        return self.name


CASES: Final = [
    Case("reset", Fault.RESET, None, "controller: connection reset by peer", 1011, End.RESET),
    Case("half-closed downwards", None, Fault.FIN, "the controller closed the connection", 1000),
    # The controller takes it for the agent's end, and ends its own direction.
    Case("half-closed upwards", Fault.FIN, None, "the controller closed the connection", 1000),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_fault_in_an_idle_session(
    case: Case, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        await talk(session.agent)
        began = trio.current_time()
        if case.up is not None:
            session.controller_leg.up.strike(case.up)
        if case.down is not None:
            session.controller_leg.down.strike(case.down)
        await session.agent.ended.wait()
        assert session.agent.close_code == case.told
        line = await link.wait_for_end()
        assert trio.current_time() - began < 6
        assert (line["by"], line["close_code"]) == ("controller", case.told)
        assert case.reason in line["reason"]
        if case.end is not None:
            await session.controller.ended.wait()
            assert session.controller.end is case.end
        await link.check_next()


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.FREEZE])
async def test_a_silent_controller_keeps_its_session(
    fault: Fault, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Nobody can tell it from an idle one, until the agent leaves: then nothing holds it."""
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        session.controller_leg.strike(fault)
        await trio.sleep(400)
        assert not link.lines("session ended")
        began = trio.current_time()
        await session.agent.close(last_command=None)
        line = await link.wait_for_end()
        assert line["reason"] == "the agent closed the session with 1000"
        assert trio.current_time() - began < 6  # the controller's own end is waited for 5 s
        await link.check_next()


async def test_a_controller_that_takes_nothing_more(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Five minutes without progress are Jenkins' own limit."""
    async with running_link(tmp_path, log, registry, on_channel=sink) as link:
        session = await link.open(Source(30_000_000))
        session.controller_leg.up.strike(Fault.FREEZE)
        began = trio.current_time()
        line = await link.wait_for_end()
        assert line["reason"] == "a send made no progress for 300 s"
        assert line["by"] == "controller"
        # The kernel's own timers run in real time: what it still moves comes late in mock time.
        assert 295 <= trio.current_time() - began <= 400
        await session.agent.ended.wait()
        assert session.agent.close_code == 1011


async def test_a_controller_that_pauses_for_four_minutes(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """A full garbage collection in the middle of an upload loses nobody and nothing."""
    total = 20_000_000
    async with running_link(tmp_path, log, registry, on_channel=sink) as link:
        session = await link.open(Source(total))
        session.controller.stop_reading()
        await trio.sleep(240)
        assert not link.lines("session ended")
        session.controller.resume_reading()
        await trio.sleep(10)  # of mock time: everything that moves has moved
        assert session.controller.counters.bytes_received >= total
        await session.agent.close(last_command=None)
        line = await link.wait_for_end()
        assert line["bytes_from_agent"] >= total
        assert session.controller.end is End.BARE_EOF


async def test_a_firewall_that_forgets_idle_connections(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        link.controller_box.idle_cut = 60.0
        session = await link.open()
        line = await link.wait_for_end()
        assert line["by"] == "controller"
        await session.agent.ended.wait()
        assert session.agent.close_code == 1011
        assert 55 <= line["duration_s"] <= 66


async def test_a_slow_and_distant_controller(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        link.controller_box.up = Lane(delay=1.0, rate=20_000.0)
        link.controller_box.down = Lane(delay=1.0, rate=20_000.0)
        session = await link.open()
        await talk(session.agent, size=240_000)
        assert 24 <= trio.current_time() <= 60
        await session.agent.close(last_command=None)
        await link.wait_for_end()


async def test_one_byte_at_a_time(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """ACK, TLS, headers, verdict, capability and chunks, in as many pieces as there are bytes."""
    async with running_link(tmp_path, log, registry) as link:
        link.controller_box.up = link.controller_box.down = Lane(piece=1)
        session = await link.open()
        for size in (4, 125, 126, 3000):
            await talk(session.agent, size=size)
        assert session.agent.messages.cut_chunks == 0
        await session.agent.close(last_command=None)
        line = await link.wait_for_end()
        assert line["reason"] == "the agent closed the session with 1000"


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.FIN])
async def test_what_arrived_before_a_cut_reaches_the_agent(
    fault: Fault, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """A download that is cut in the middle of a chunk: whole chunks arrive, and the reason."""
    async with running_link(tmp_path, log, registry, on_channel=Source(10_000_000)) as link:
        link.controller_box.down = Lane(after=1_000_000, fault=fault)
        agent = await link.connect(sink)
        assert isinstance(agent, AgentChannel)
        await agent.ended.wait()
        line = await link.wait_for_end()
        assert line["by"] == "controller"
        assert agent.messages.cut_chunks == 0
        if fault is Fault.FIN:
            # A reset may take with it what nobody has read yet.
            assert agent.counters.bytes_received > 950_000
        with pytest.raises(ConnectionEnded):
            await agent.send_command(b"too late")
