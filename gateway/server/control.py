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

Message = dict[str, Any]


class ControlBroken(Exception):
    """The other end sent something that is not a message."""


class ControlStream:
    """One end of a control stream. One task may receive while others send."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._sending = trio.Lock()
        self._buffer = b""

    async def send(self, message: Message) -> None:
        """Send one message. Raises trio.BrokenResourceError if the other end is gone."""
        data = json.dumps(message).encode()
        async with self._sending:
            await self._stream.send_all(len(data).to_bytes(4, "big") + data)

    async def receive(self) -> Message | None:
        """Return the next message, or None when the other end is gone. Raises ControlBroken."""
        head = await self._read(4)
        if head is None:
            return None
        size = int.from_bytes(head, "big")
        if size > MAX_MESSAGE:
            raise ControlBroken(f"message of {size} bytes")
        data = await self._read(size)
        if data is None:
            return None
        try:
            message = json.loads(data)
        except ValueError:
            raise ControlBroken("message is not JSON") from None
        if not isinstance(message, dict):
            raise ControlBroken("message is not an object")
        return message

    async def _read(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            try:
                data = await self._stream.receive_some(64 * 1024)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()
