"""One agent's nonsense must not keep the worker from its other sessions."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.agents.rig import running_session
from tests.peers.raw_frames import BINARY, CONTINUATION, PING, PONG, frame
from tests.peers.ws_agent import Pong

RECEIVE: Final = 512 * 1024  # bytes, what one wake-up may bring
ASKED: Final = frame(PING, b"asked last")


@pytest.mark.parametrize(
    ("begin", "nonsense", "end"),
    [
        pytest.param(
            frame(BINARY, final=False),
            frame(CONTINUATION, final=False),
            frame(CONTINUATION),
            id="empty fragments",
        ),
        pytest.param(b"", frame(PONG), b"", id="pongs"),
    ],
)
async def test_others_have_their_turn(begin: bytes, nonsense: bytes, end: bytes) -> None:
    """Everything is there at once; what is counted is how often another task could run."""
    flood = begin + nonsense * (RECEIVE // len(nonsense)) + end + ASKED
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with running_session(leading=flood) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        with trio.fail_after(20):
            while True:
                data = await rig.agent.receive_some(65536)
                if any(isinstance(event, Pong) for event in rig.frames.receive(data)):
                    break
        nursery.cancel_scope.cancel()
    assert turns > RECEIVE // len(nonsense) // 1000
