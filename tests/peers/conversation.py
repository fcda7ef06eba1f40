"""Commands both ways through open channels, numbered, so that not one can be lost unseen.

Owns: what each end of each session has asked, heard and been answered, and comparing the two ends.

Each end asks, up to ``_WINDOW`` commands ahead, and answers what it hears. Contents and sizes
follow from node, end and number, so whoever receives a command knows every byte of it beforehand: a
command that is lost, doubled, changed or out of order fails the test at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from gateway.demo.channel import CommandChannel, command
from gateway.demo.stream import ConnectionEnded

_WINDOW: Final = 3
_PAUSE: Final = 0.4  # seconds between two of an end's questions
_LARGEST: Final = 20_000  # bytes: a few chunks
# No answer takes that long in a session that lives; the machine may be busy with something else.
_PATIENCE: Final = 30.0


def _made(kind: str, asker: str, node: str, number: int) -> bytes:
    return command(f"{kind} {asker} {node} {number} ", size=(number * 7919) % _LARGEST)


@dataclass
class End:
    """One end of one session. ``asked``, ``answered``: its own commands; ``heard``: the other's.

    ``waited``: once the session has ended, for how many seconds its oldest question had no answer.
    """

    name: str
    channel: CommandChannel
    asked: int = 0
    answered: int = 0
    heard: int = 0
    waited: float = 0.0
    _open: deque[float] = field(default_factory=deque)  # when they were asked
    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def is_open(self) -> bool:
        """Say whether the session lives, as far as this end knows."""
        return self.channel.end is None

    def ask(self) -> int:
        """Return the number of the next question, which counts as asked."""
        self.asked += 1
        self._open.append(trio.current_time())
        return self.asked

    def take_answer(self) -> None:
        """Count an answer to the oldest question."""
        self.answered += 1
        self._open.popleft()

    def finish(self) -> None:
        """Note that no answer comes any more."""
        if self._open:
            self.waited = trio.current_time() - self._open[0]

    def notify(self) -> None:
        """Wake up whoever waits for a change."""
        self.changed.set()
        self.changed = trio.Event()


class Conversation:
    """All sessions of one controller's nodes: give ``behaviour(name)`` to each end's channels."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self._begun = trio.Event()
        self._silence = trio.Event()

    def behaviour(self, name: str, other: str) -> Callable[[CommandChannel], Awaitable[None]]:
        """Return how the end ``name`` talks to ``other``."""

        async def talk(channel: CommandChannel) -> None:
            end = End(name, channel)
            self.ends.append(end)
            self._begun.set()
            self._begun = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, end)
                with suppress(ConnectionEnded):
                    async for payload in channel:
                        await self._take(end, other, payload)
                end.finish()
                nursery.cancel_scope.cancel()

        return talk

    def fall_silent(self) -> None:
        """Ask nothing more anywhere; what was asked is still answered."""
        self._silence.set()

    async def wait_for_answers(self, name: str, node: str, count: int) -> None:
        """Wait until ``count`` more questions of an end are answered in the session that lives,
        once there is one.
        """
        with trio.fail_after(_PATIENCE):
            while (end := self._live(name, node)) is None:
                await self._begun.wait()
            expected = end.answered + count
            while end.answered < expected:
                assert end.is_open, f"{node}'s session has ended"
                await end.changed.wait()

    async def wait_until_settled(self) -> None:
        """Wait until every question in sessions that live is answered; then nothing is under way.

        Call ``fall_silent`` before.
        """
        assert self._silence.is_set()
        with trio.fail_after(_PATIENCE):
            for end in self.ends:
                while end.is_open and end.answered < end.asked:
                    await end.changed.wait()

    def _live(self, name: str, node: str) -> End | None:
        return next(
            (
                end
                for end in reversed(self.ends)
                if end.is_open and (end.name, end.channel.node) == (name, node)
            ),
            None,
        )

    async def _ask(self, end: End) -> None:
        with suppress(ConnectionEnded):
            while not self._silence.is_set():
                with trio.fail_after(_PATIENCE):
                    while end.asked - end.answered >= _WINDOW:
                        await end.changed.wait()
                # It counts as asked also where sending fails in the middle of it.
                await end.channel.send_command(_made("ask", end.name, end.channel.node, end.ask()))
                with trio.move_on_after(_PAUSE):
                    await self._silence.wait()

    async def _take(self, end: End, other: str, payload: bytes) -> None:
        node = end.channel.node
        if payload == _made("ask", other, node, end.heard + 1):
            end.heard += 1
            await end.channel.send_command(_made("answer", other, node, end.heard))
        else:
            assert payload == _made("answer", end.name, node, end.answered + 1), payload[:80]
            end.take_answer()
        end.notify()
