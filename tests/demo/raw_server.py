"""A scripted server for simulated agents: frames by hand, from RFC 6455 and PROTOCOLS A.

It shares no code with the agent that it examines.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

CAPABILITY = "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAP4="
READY = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"


def accept_value(key: str) -> str:
    """Return Sec-WebSocket-Accept for a key."""
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


def upgrade_answer(key: str, *headers: str) -> bytes:
    """Write a 101 that fits ``key``, with more headers."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: upgrade",
        f"Sec-WebSocket-Accept: {accept_value(key)}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """Write an ordinary answer."""
    lines = [f"HTTP/1.1 {status} ", *headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def frame(opcode: int, payload: bytes, *, fin: int = 1) -> bytes:
    """Write one unmasked frame."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2)
    else:
        length = b"\x7f" + size.to_bytes(8)
    return bytes((fin << 7 | opcode,)) + length + payload


class Visit:
    """One connection of an agent: its request, then whatever the script reads and writes."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self.request = b""
        self.headers: dict[str, str] = {}
        self._buffer = b""

    async def read_request(self) -> None:
        """Read the request's head."""
        while b"\r\n\r\n" not in self._buffer:
            piece = await self.stream.receive_some()
            if not piece:
                raise EOFError
            self._buffer += piece
        self.request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            self.headers[name] = value

    @property
    def target(self) -> str:
        """Return the request's target."""
        return self.request.decode("latin-1").split(" ")[1]

    async def upgrade(self, *headers: str) -> None:
        """Answer with a 101 that fits."""
        await self.send(upgrade_answer(self.headers["Sec-WebSocket-Key"], *headers))

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes; EOFError if there are fewer."""
        while len(self._buffer) < size:
            piece = await self.stream.receive_some()
            if not piece:
                raise EOFError
            self._buffer += piece
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def read_frame(self) -> tuple[int, int, bytes]:
        """Read one masked frame: FIN, opcode, payload."""
        first, second = await self.read(2)
        assert second & 0x80, "a client must mask"
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self.read(2))
        elif size == 127:
            size = int.from_bytes(await self.read(8))
        mask = await self.read(4)
        payload = await self.read(size)
        plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        return first >> 7, first & 0x0F, plain

    async def read_end(self) -> str:
        """Read to the end and say how it came; unread frames are skipped."""
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError as exc:
            return "bare eof" if "EOF" in str(exc.__cause__) else "reset"
        return "eof"


Script = Callable[[Visit], Awaitable[None]]


async def serve(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run ``script`` for every connection, after its request was read; report the port."""

    async def handle(stream: trio.SocketStream) -> None:
        upper = stream if tls is None else trio.SSLStream(stream, tls, server_side=True)
        visit = Visit(upper)
        with suppress(EOFError, trio.BrokenResourceError):
            await visit.read_request()
            await script(visit)
        stream.socket.close()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(handle, listeners)
