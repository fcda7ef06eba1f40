"""What networks do to the leg between agent and gateway, and what becomes of the session.

Mock time: minutes take milliseconds. The limits are the defaults: a ping after 20 s, lost after 60.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.demo.channel import Source, sink
from gateway.demo.stream import End
from tests.faults.link import Session, WatchedRegistry, running_link, talk
from tests.peers.middlebox import Fault, Lane

LOST: Final = "no byte for 60 s"
CUT: Final = "the agent closed the connection without a Close frame"


@dataclass(frozen=True)
class Case:
    """A fault in an idle session: where, and what the log says when, seconds after it.

    ``told``: the code of the Close frame that the agent gets, if it can.
    """

    name: str
    up: Fault | None
    down: Fault | None
    reason: str
    after: tuple[float, float]
    told: int | None = None

    def __str__(self) -> str:
        return self.name


AT_ONCE: Final = (0.0, 5.1)  # and the 5 s that closing may take
IN_A_MINUTE: Final = (39.0, 66.0)  # the last byte may be a pong, 20 s old
CASES: Final = [
    Case("cable cut", Fault.BLACK_HOLE, Fault.BLACK_HOLE, LOST, IN_A_MINUTE),
    Case("upwards lost", Fault.BLACK_HOLE, None, LOST, IN_A_MINUTE, 1011),
    Case("downwards lost", None, Fault.BLACK_HOLE, LOST, IN_A_MINUTE),
    Case("frozen", Fault.FREEZE, Fault.FREEZE, LOST, IN_A_MINUTE),
    Case("reset", Fault.RESET, None, "connection reset by peer", AT_ONCE),
    Case("half-closed upwards", Fault.FIN, None, CUT, AT_ONCE, 1011),
    # The agent takes it for the end, and inside TLS there is no way left to say so.
    Case("half-closed downwards", None, Fault.FIN, CUT, AT_ONCE),
]


def strike(session: Session, case: Case) -> None:
    """Let the case happen."""
    if case.up is not None:
        session.agent_leg.up.strike(case.up)
    if case.down is not None:
        session.agent_leg.down.strike(case.down)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_fault_in_an_idle_session(
    case: Case, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        await trio.sleep(70)  # pings have been answered
        await talk(session.agent)
        began = trio.current_time()
        strike(session, case)
        line = await link.wait_for_end()
        assert case.after[0] <= trio.current_time() - began <= case.after[1]
        assert case.reason in line["reason"]
        assert line["by"] == "agent"
        await session.controller.ended.wait()
        assert session.controller.end is End.BARE_EOF
        if case.told is not None:
            await session.agent.ended.wait()
            assert session.agent.close_code == case.told
        else:
            session.agent.kill()  # it may never hear of it
        await link.check_next()


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.FREEZE, Fault.RESET, Fault.FIN])
async def test_a_fault_in_the_middle_of_a_download(
    fault: Fault, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """The controller keeps sending; only what the agent should answer shows that it is gone."""
    async with running_link(tmp_path, log, registry, on_channel=Source(20_000_000)) as link:
        link.agent_box.down = Lane(after=3_000_000, fault=fault)
        session = await link.open(sink)
        if fault is not Fault.RESET:
            session.agent_leg.up.strike(Fault.BLACK_HOLE)
        began = trio.current_time()
        line = await link.wait_for_end()
        assert line["by"] == "agent"
        # A minute; but the kernel's own timers run in real time, and what it still moves looks like
        # progress at any moment of mock time.
        assert trio.current_time() - began < 140
        await session.controller.ended.wait()
        # What it was about to send is in the way of an orderly end.
        assert session.controller.end in (End.BARE_EOF, End.RESET)
        session.agent.kill()


async def test_pings_keep_a_session_from_being_cut(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        link.agent_box.idle_cut = 30.0
        session = await link.open()
        await trio.sleep(300)
        await talk(session.agent)
        assert session.agent.messages.pings >= 15
        await session.agent.close(last_command=None)
        await link.wait_for_end()


@pytest.mark.parametrize(
    ("fault", "reason", "within"),
    [(Fault.RESET, "reset", 17.0), (Fault.FIN, CUT, 22.0), (Fault.BLACK_HOLE, LOST, 82.0)],
)
async def test_a_proxy_that_is_too_impatient(
    fault: Fault,
    reason: str,
    within: float,
    tmp_path: Path,
    log: LogCapture,
    registry: WatchedRegistry,
    clock: MockClock,
) -> None:
    """Idle connections are cut after 16 s, before the first ping: it is over, and not stuck."""
    async with running_link(tmp_path, log, registry) as link:
        link.agent_box.idle_cut = 16.0
        link.agent_box.idle_fault = fault
        session = await link.open()
        began = trio.current_time()
        line = await link.wait_for_end()
        assert reason in line["reason"]
        assert trio.current_time() - began < within
        await session.controller.ended.wait()
        assert session.controller.end is End.BARE_EOF
        session.agent.kill()
        link.agent_box.idle_cut = 300.0
        await link.check_next()


async def test_a_satellite_link(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Two seconds each way: the handshakes take their time, and nobody is given up."""
    async with running_link(tmp_path, log, registry) as link:
        link.agent_box.up = link.agent_box.down = Lane(delay=2.0)
        began = trio.current_time()
        session = await link.open()
        assert 8 <= trio.current_time() - began <= 12  # TLS and the request, 4 s each
        await talk(session.agent, size=300_000)
        await trio.sleep(120)
        await session.agent.close(last_command=None, linger=10)
        line = await link.wait_for_end()
        assert 4000 <= line["round_trip_ms"] <= 4200
        assert line["reason"] == "the agent closed the session with 1000"


async def test_a_slow_line(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Pings and pongs wait behind 200 kB at 4 kB/s, which is no silence."""
    async with running_link(tmp_path, log, registry) as link:
        link.agent_box.up = link.agent_box.down = Lane(rate=4000.0, piece=32768)
        session = await link.open()
        await talk(session.agent, size=200_000)
        assert trio.current_time() > 100
        await trio.sleep(120)
        assert not link.lines("session ended")
        await session.agent.close(last_command=None, linger=10)
        await link.wait_for_end()


async def test_one_byte_at_a_time(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """TLS, head, frames and chunks, each in as many pieces as there are bytes."""
    async with running_link(tmp_path, log, registry) as link:
        link.agent_box.up = link.agent_box.down = Lane(piece=1)
        session = await link.open()
        for size in (4, 125, 126, 3000):
            await talk(session.agent, size=size)
        await session.agent.close(last_command=None)
        line = await link.wait_for_end()
        assert line["reason"] == "the agent closed the session with 1000"
