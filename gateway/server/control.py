"""The control stream between supervisor and worker: length-prefixed JSON over a socketpair.

Owns: the framing (u32 big-endian length, then one JSON object) and its bound.

Must not know: what the messages mean.
"""

from __future__ import annotations

import json
from typing import Any, Final

import trio

# The largest message is a configuration; thousands of routes fit.
MAX_MESSAGE: Final = 16 * 1024 * 1024
_HEAD: Final = 4  # bytes

Message = dict[str, Any]


class ControlBroken(Exception):
    """The other end sent something that is not a message."""


class ControlStream:
    """One end of a control stream. One task may receive while others send."""

    def __init__(
        self, stream: trio.abc.Stream, *, received: bytes = b"", limit: int = MAX_MESSAGE
    ) -> None:
        """``received``: what a former owner of this end received and did not use (``freeze``).

        ``limit``: bytes of a message in either direction.
        """
        self._stream = stream
        self._sending = trio.Lock()
        self.is_torn = False  # part of a message has been sent: the rest follows, or never will
        self._buffer = bytearray(received)
        self._limit = limit

    async def send(self, message: Message) -> None:
        """Send one message. Raises trio.BrokenResourceError if the other end is gone.

        ValueError for a message that the other end would refuse. A cancelled send may leave half a
        message behind: only a stream that is about to be closed may see that.
        """
        data = json.dumps(message).encode()
        if len(data) > self._limit:
            raise ValueError(f"message of {len(data)} bytes; at most {self._limit} are allowed")
        async with self._sending:
            self.is_torn = True
            await self._stream.send_all(len(data).to_bytes(_HEAD, "big") + data)
            self.is_torn = False

    async def receive(self) -> Message | None:
        """Return the next message, or None when the other end is gone. Raises ControlBroken.

        May be cancelled and called again.
        """
        if not await self._fill(_HEAD):
            return None
        size = int.from_bytes(self._buffer[:_HEAD], "big")
        if size > self._limit:
            raise ControlBroken(f"message of {size} bytes")
        if not await self._fill(_HEAD + size):
            return None
        data = bytes(self._buffer[_HEAD : _HEAD + size])
        del self._buffer[: _HEAD + size]
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            raise ControlBroken("message is not JSON") from None
        if not isinstance(message, dict):
            raise ControlBroken("message is not an object")
        return message

    async def _fill(self, size: int) -> bool:
        """Receive until ``size`` bytes are there; False when the stream ends before."""
        while len(self._buffer) < size:
            try:
                data = await self._stream.receive_some(64 * 1024)
            except trio.BrokenResourceError:
                return False
            if not data:
                return False
            self._buffer += data
        return True

    async def freeze(self) -> None:
        """Wait until no message is half sent, and let no further one begin.

        For handing the stream to another program: from then on nothing but ``unused`` is called.
        """
        await self._sending.acquire()

    def thaw(self) -> None:
        """Undo ``freeze``; by the same task."""
        self._sending.release()

    @property
    def unused(self) -> bytes:
        """What has been received and not been returned by ``receive``: part of a message."""
        return bytes(self._buffer)

    async def aclose(self) -> None:
        """Close this end: the other one's ``receive`` returns None."""
        await self._stream.aclose()
