"""What session tests run on: a stream without sockets, and pumps that do one thing.

Owns: ``Line``, which keeps the same records as a real stream, so that time can be a mock clock
that jumps: nothing waits for a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import trio

from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, Rest, SendPing
from gateway.transport.stream import Activity, Stream, StreamBroken

LIMITS = Limits(interval=20.0, suspect_after=20.0, dead_after=60.0)
NEVER = Limits(20.0, math.inf, math.inf)
DONE = SessionEnd(Side.AGENT, "done", 1000, "info")


class Line:
    """A stream as the watchdog sees it: its records, and one sender at a time.

    ``answers`` is how long the peer takes to send a byte after a ping; None means never.
    """

    def __init__(self, *, answers: float | None = None) -> None:
        self.activity = Activity(trio.current_time())
        self.answers = answers
        self.pings: list[tuple[float, bytes]] = []
        self.broken: str | None = None
        self.unacknowledged = 0  # of what was written
        self.unsent = 0  # of these
        self._lock = trio.Lock()
        self.asked = trio.Event()

    def reads(self) -> None:
        """Start to wait for bytes, as a pump does."""
        self.activity.reading_since = trio.current_time()

    def hears(self) -> None:
        """Get a byte, and go back to waiting if that is what was done before."""
        now = self.activity.received_at = trio.current_time()
        self.activity.bytes_received += 1
        if self.activity.reading_since is not None:
            self.activity.reading_since = now

    def acknowledged(self) -> int:
        return self.activity.bytes_written - self.unacknowledged

    def in_flight(self) -> int:
        return self.unacknowledged - self.unsent

    def sends(self, size: int, *, acknowledged: int = 0) -> None:
        """Have the kernel take so many bytes, and the peer's kernel some of them."""
        self.activity.bytes_sent += size
        self.activity.bytes_written += size
        self.unacknowledged += size - acknowledged

    async def send(self, *, takes: float = 0.0, moves_every: float = math.inf) -> None:
        """Send something; it waits ``takes`` seconds and moves on every ``moves_every`` of them."""
        activity = self.activity
        async with self._lock:
            activity.sending_since = trio.current_time()
            end = trio.current_time() + takes
            while trio.current_time() < end:
                await trio.sleep(min(moves_every, end - trio.current_time()))
                if moves_every < math.inf:
                    activity.progress_at = trio.current_time()
            activity.sent_at = trio.current_time()
            activity.sending_since = None

    def ping(self, payload: bytes) -> Rest:
        """Send a ping at once, as sessions do, or behind whoever is sending."""
        if self.broken is not None:
            raise StreamBroken(self.broken)
        if self._lock.locked():
            return partial(self._ping_later, payload)
        self.activity.sent_at = trio.current_time()
        self._note_ping(payload)
        return None

    async def _ping_later(self, payload: bytes) -> None:
        await self.send()
        if self.broken is not None:
            raise StreamBroken(self.broken)
        self._note_ping(payload)

    def _note_ping(self, payload: bytes) -> None:
        self.pings.append((trio.current_time(), payload))
        self.asked.set()

    async def answer(self) -> SessionEnd:
        """A pump that brings the answers to pings."""
        assert self.answers is not None
        self.reads()
        while True:
            await self.asked.wait()
            self.asked = trio.Event()
            await trio.sleep(self.answers)
            self.hears()

    def watch(
        self,
        limits: Limits = LIMITS,
        *,
        pings: bool = True,
        told: Callable[[float], None] = lambda round_trip: None,
    ) -> LegWatch:
        stream = cast("Stream", self)
        ping = self.ping if pings else None
        return LegWatch(Side.AGENT, stream, limits, send_ping=ping, told=told)


def waiting(send: Callable[[bytes], Awaitable[None]]) -> SendPing:
    """Return what sends a ping that has to wait."""
    return lambda payload: partial(send, payload)


async def forever() -> SessionEnd:
    await trio.sleep_forever()
    raise AssertionError


def every(seconds: float, act: Callable[[], object]) -> Callable[[], Awaitable[SessionEnd]]:
    """Return a pump that does something every so often."""

    async def pump() -> SessionEnd:
        while True:
            await trio.sleep(seconds)
            result = act()
            if isinstance(result, Awaitable):
                await result

    return pump


def after(seconds: float, end: SessionEnd = DONE) -> Callable[[], Awaitable[SessionEnd]]:
    """Return a pump that ends the session."""

    async def pump() -> SessionEnd:
        await trio.sleep(seconds)
        return end

    return pump


async def send_for_ever(line: Line) -> SessionEnd:
    await line.send(takes=1e9)
    raise AssertionError
