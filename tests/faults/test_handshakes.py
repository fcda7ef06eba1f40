"""Faults in the middle of handshakes: the agent gets an honest answer or its end, nothing is held.

On either leg and in either direction, after so many bytes of the ciphertext, wherever that falls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.demo.agent import Failure
from gateway.demo.agent_http import Answer
from tests.faults.link import Link, WatchedRegistry, running_link
from tests.peers.middlebox import Crossing, Fault, Lane, Middlebox

# The gateway has 25 s for all of its handshake, and 10 s each for TLS and the like.
PATIENCE: Final = 25.5
POINTS: Final = 10


async def _count(link: Link, box: Callable[[Link], Middlebox], way: str) -> int:
    """Return how many bytes a good handshake takes in one direction."""
    session = await link.open()
    crossing: Crossing = box(link).crossings[-1]
    count: int = getattr(crossing, way).delivered
    await session.agent.close(last_command=None)
    await link.wait_for_end()
    return count


def _points(total: int) -> list[int]:
    """Return places in a handshake of ``total`` bytes: its beginning, its end, and between.

    The end is not exact: signatures differ by a few bytes each time.
    """
    return sorted({0, 1, 5, *(total * n // POINTS for n in range(1, POINTS)), total - 10})


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.RESET, Fault.FIN])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_on_the_controller_leg(
    way: str,
    fault: Fault,
    tmp_path: Path,
    log: LogCapture,
    registry: WatchedRegistry,
    clock: MockClock,
) -> None:
    async with running_link(tmp_path, log, registry, count_objects=True) as link:
        for after in _points(await _count(link, lambda link: link.controller_box, way)):
            setattr(link.controller_box, way, Lane(after=after, fault=fault))
            began = trio.current_time()
            found = await link.connect()
            waited = trio.current_time() - began
            setattr(link.controller_box, way, Lane())
            assert isinstance(found, Answer), f"{way} after {after}: {found}"
            assert waited < PATIENCE
            assert found.status in ({504} if fault is Fault.BLACK_HOLE else {503}), after
            line = link.lines("request failed")[-1]
            assert "while waiting for" in line["reason"] or waited > 19, line["reason"]
            await link.check_nothing_left()
        await link.check_next()


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.RESET, Fault.FIN])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_on_the_agent_leg(
    way: str,
    fault: Fault,
    tmp_path: Path,
    log: LogCapture,
    registry: WatchedRegistry,
    clock: MockClock,
) -> None:
    async with running_link(tmp_path, log, registry, count_objects=True) as link:
        for after in _points(await _count(link, lambda link: link.agent_box, way)):
            setattr(link.agent_box, way, Lane(after=after, fault=fault))
            found = await link.connect()
            setattr(link.agent_box, way, Lane())
            assert isinstance(found, Failure), f"{way} after {after}: {found}"
            # A 101 that never arrived is the beginning of a session all the same.
            if len(link.lines("session started")) > len(link.lines("session ended")):
                await link.wait_for_end()
            await link.check_nothing_left()
        await link.check_next()
