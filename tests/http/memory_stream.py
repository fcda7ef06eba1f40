"""A stand-in for ``transport.stream.Stream`` without sockets, for tests that move the clock."""

from __future__ import annotations

import math
from typing import cast

import trio

from gateway.transport.patience import current_patience
from gateway.transport.stream import (
    Activity,
    PeerAddress,
    ReceiveInterrupted,
    Stream,
    StreamBroken,
)


class MemoryStream:
    """What a test feeds is received, what is sent is kept; ``blocked`` sends wait for ever."""

    def __init__(self, *pieces: bytes) -> None:
        self.peer = PeerAddress("192.0.2.7", 40_000)
        self.tls = None
        self.broken: str | None = None
        self.sent = b""
        self.sends = 0
        self.closed = ""  # "aclose", "close", "abort"
        self.ended = False
        self.blocked = False
        self.user_timeout = 0.0
        self.activity = Activity(0.0)
        self._pieces = list(pieces)
        self._arrived = trio.Event()
        self._interrupted = False
        self.until = math.inf

    def feed(self, data: bytes) -> None:
        """Let ``data`` arrive; ``b""`` is the end."""
        self._pieces.append(data)
        self._arrived.set()
        self._arrived = trio.Event()

    def as_stream(self) -> Stream:
        """Return self, under the type that the gateway expects."""
        return cast("Stream", self)

    def keep_alive(self, *, user_timeout: float) -> None:
        self.user_timeout = user_timeout

    async def receive_some(self, *, until: float = math.inf) -> bytes:
        await trio.lowlevel.checkpoint()
        self.until = until
        self._interrupted = False
        patience = current_patience()
        patience.add(self)
        try:
            while not self._pieces:
                await self._arrived.wait()
                if self._interrupted:
                    raise ReceiveInterrupted
        finally:
            patience.discard(self)
        if self._pieces[0] == b"":
            return b""
        if self._pieces[0] == b"RESET":
            raise StreamBroken("connection reset by peer")
        return self._pieces.pop(0)

    def interrupt(self) -> None:
        self._interrupted = True
        self._arrived.set()
        self._arrived = trio.Event()

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken is not None:
            raise StreamBroken(self.broken)
        if self.blocked:
            await trio.sleep_forever()
        self.sent += data
        self.sends += 1

    def has_input(self) -> bool:
        return bool(self._pieces) or self.broken is not None

    def send_nowait(self, data: bytes) -> bool:
        if self.broken is not None:
            raise StreamBroken(self.broken)
        if not self.blocked:
            self.sent += data
            self.sends += 1
            self.activity.bytes_written += len(data)
        return not self.blocked

    async def flush(self) -> None:
        await trio.sleep_forever()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ended = True

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = self.closed or "aclose"
        self.broken = self.broken or "closed"

    @property
    def has_unsent(self) -> bool:
        return self.blocked

    def acknowledged(self) -> int:
        return self.activity.bytes_written

    def close_nowait(self) -> None:
        self.closed = self.closed or ("abort" if self.blocked else "close")
        self.broken = self.broken or "closed"

    def abort(self) -> None:
        self.closed = self.closed or "abort"
        self.broken = self.broken or "aborted"
