"""That a conversation sees what is lost, changed, doubled or late, so that rehearsals can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from gateway.demo.channel import StandInChannel
from gateway.demo.stream import Wire
from tests.loopback import tcp_pair
from tests.peers.conversation import Conversation

Tamper = Callable[[bytes], list[bytes]]


class Line(StandInChannel):
    """A channel that does something to the ``number``-th command that it sends."""

    def __init__(self, socket: trio.SocketStream, number: int, tamper: Tamper) -> None:
        super().__init__(Wire(socket), node="a", cookie="c", peer_capability="")
        self._number = number
        self._tamper = tamper
        self._sent = 0

    async def send_command(self, payload: bytes) -> None:
        """Send it, or what became of it."""
        self._sent += 1
        for each in self._tamper(payload) if self._sent == self._number else [payload]:
            await super().send_command(each)


async def talk(tamper: Tamper, *, seconds: float) -> Conversation:
    """Let two ends talk for a while, and end in order if nothing was wrong."""
    conversation = Conversation()
    agent, controller = (
        Line(trio.SocketStream(end), number, tamper)
        for end, number in zip(tcp_pair(), (7, 0), strict=True)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.run, conversation.behaviour("agent", "controller"))
        nursery.start_soon(controller.run, conversation.behaviour("controller", "agent"))
        await trio.sleep(seconds)
        conversation.fall_silent()
        await conversation.wait_until_settled()
        nursery.cancel_scope.cancel()
    return conversation


async def test_nothing_is_lost(clock: MockClock) -> None:
    conversation = await talk(lambda payload: [payload], seconds=10)
    for end, other in zip(conversation.ends, reversed(conversation.ends), strict=True):
        assert end.asked == other.heard == end.answered > 10
        assert end.waited == 0


@pytest.mark.parametrize(
    "tamper",
    [
        lambda payload: [],
        lambda payload: [payload, payload],
        lambda payload: [payload[:-1] + b"!"],
        lambda payload: [payload[:-1]],
    ],
    ids=["lost", "doubled", "changed", "cut"],
)
async def test_what_is_wrong_is_seen(clock: MockClock, tamper: Tamper) -> None:
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True, allow_unwrapped=True):
        await talk(tamper, seconds=10)


async def test_standing_still_is_seen(clock: MockClock) -> None:
    """One end's question is on its way for good, as far as the session lives."""
    conversation = Conversation()
    ours, theirs = map(trio.SocketStream, tcp_pair())
    channel = StandInChannel(Wire(ours), node="a", cookie="c", peer_capability="")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, conversation.behaviour("agent", "controller"))
        await trio.sleep(20)
        await theirs.aclose()
    (end,) = conversation.ends
    assert end.waited >= 19
