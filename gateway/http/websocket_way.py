"""One direction of a WebSocket that passes through.

Owns: sending on in order, and how a direction ends: at the end of a frame, and what else comes is
looked at for a Close frame only.

Must not know: pumps, when a session ends and why (``websocket_relay``).

Order without a lock. The scanner's state changes and the bytes go to the stream in one step
(``send_nowait`` takes them all, whatever the kernel does), so "at a boundary" holds for the stream
at every moment at which another task can look, also after a pump was cancelled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import trio

from gateway.protocol.ws_relay import FrameScanner, mask_frame
from gateway.runtime.session_end import Side
from gateway.runtime.session_loop import LegWatch, Rest
from gateway.transport.stream import Stream


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a session: ``leading`` is what arrived on it already."""

    side: Side
    stream: Stream
    leading: bytes


class Way:
    """One direction: what comes from ``source`` and goes to ``sink``, which ``watch`` judges."""

    __slots__ = (
        "ended",
        "inserted",
        "leading",
        "passed",
        "scanner",
        "sink",
        "source",
        "told",
        "watch",
    )

    def __init__(self, source: Leg, sink: Leg, scanner: FrameScanner, watch: LegWatch) -> None:
        self.source = source
        self.sink = sink
        self.scanner = scanner
        self.watch = watch
        self.leading = source.leading
        self.passed = 0  # bytes that were sent on, pings of ours that were inserted included
        self.inserted: trio.Event | None = None  # somebody waits for the end of a frame
        self.ended = trio.Event()  # a Close frame has passed
        self.told = False  # a Close frame of ours is the last that is sent

    def frame(self, frame: bytes) -> bytes:
        """Return an unmasked frame of ours as this direction must have it."""
        if self.sink.side is Side.CONTROLLER:
            return mask_frame(frame, os.urandom(4))
        return frame

    async def send(self, data: bytes) -> None:
        """Send ``data`` after all that was sent before. Raises StreamBroken."""
        if data and (flush := self.send_nowait(data)) is not None:
            await flush()

    def send_nowait(self, data: bytes) -> Rest:
        """Send ``data``; return what still has to be waited for, if anything. StreamBroken."""
        stream = self.sink.stream
        return None if stream.send_nowait(data) else stream.flush

    async def finish(self, farewell: Callable[[], bytes]) -> None:
        """Let the frame under way through, and nothing behind it but ``farewell``.

        Raises StreamBroken, be it of either side.
        """
        scanner = self.scanner
        rest = b""
        while not scanner.at_boundary:
            data = await self.source.stream.receive_some()
            if not data:
                return
            rest = data[scanner.remaining :]
            await self.send(scanner.receive_data(data[: scanner.remaining]))
        self.told = True
        await self.send(farewell())
        await self._drop(rest)

    async def await_close_frame(self) -> None:
        """Read on until the Close frame or the end; what else comes has no reader any more.

        Raises StreamBroken.
        """
        while not self.scanner.closed and self.scanner.fault is None:
            data = await self.source.stream.receive_some()
            if not data:
                return
            await self._drop(data)

    async def _drop(self, data: bytes) -> None:
        self.scanner.receive_data(data)
        while self.scanner.more:
            await trio.lowlevel.checkpoint()
            self.scanner.receive_data(b"")
