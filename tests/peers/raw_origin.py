"""A recording HTTP origin: it keeps every byte and answers exactly what a test tells it to.

Independent of the gateway's own HTTP code: a few lines of framing of its own, written from RFC
9112, that fail loudly on anything that is not exactly right.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio


@dataclass
class Recorded:
    """One request as it arrived."""

    head: bytes  # up to and including the empty line
    body: bytes = b""  # decoded
    trailers: bytes = b""  # raw lines
    raw: bytearray = field(default_factory=bytearray)  # everything, framing included

    @property
    def line(self) -> bytes:
        """Return the request line."""
        return self.head.split(b"\r\n")[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the fields in order and case."""
        lines = self.head.split(b"\r\n")[1:-2]
        return [
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]

    def get(self, name: bytes) -> bytes | None:
        """Return the only value of a field; two are a failure."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None


class OriginConnection:
    """What a script does with one connection."""

    def __init__(self, stream: trio.SocketStream, origin: RawOrigin) -> None:
        self.stream = stream
        self.origin = origin
        self.buffer = bytearray()
        self.current: Recorded | None = None
        self.ended = trio.Event()  # the gateway closed its side, or reset the connection

    async def receive(self) -> bool:
        """Wait for bytes; False at the end."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if not data:
            self.ended.set()
            return False
        self.buffer += data
        return True

    async def _until(self, marker: bytes) -> bytes:
        while (at := self.buffer.find(marker)) < 0:
            assert await self.receive(), f"ended before {marker!r}: {bytes(self.buffer)!r}"
        return self._take(at + len(marker))

    async def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert await self.receive(), f"ended {count - len(self.buffer)} bytes short"
        return self._take(count)

    def _take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        if self.current is not None:
            self.current.raw += data
        return data

    async def read_head(self) -> Recorded:
        """Read a request head and record it."""
        head = await self._until(b"\r\n\r\n")
        self.current = Recorded(head, raw=bytearray(head))
        self.origin.requests.append(self.current)
        return self.current

    async def read_body(self) -> bytes:
        """Read the current request's body by its framing fields."""
        recorded = self.current
        assert recorded is not None
        coding, length = recorded.get(b"transfer-encoding"), recorded.get(b"content-length")
        assert coding is None or length is None, "framed twice"
        if coding is not None:
            assert coding == b"chunked", coding
            while chunk := await self.read_chunk():
                recorded.body += chunk
            while (line := await self._until(b"\r\n")) != b"\r\n":
                recorded.trailers += line
        elif length is not None:
            recorded.body = await self._exactly(int(length))
        return recorded.body

    async def read_chunk(self) -> bytes:
        """Read one chunk; ``b""`` for the last."""
        line = await self._until(b"\r\n")
        assert re.fullmatch(rb"[0-9a-fA-F]+\r\n", line), line
        size = int(line, 16)
        if not size:
            return b""
        data = await self._exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def read_request(self) -> Recorded:
        """Read a whole request."""
        recorded = await self.read_head()
        await self.read_body()
        return recorded

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def wait_for_end(self) -> None:
        """Wait until the gateway has closed its side, recording what still comes."""
        with suppress(trio.BrokenResourceError):
            while await self.receive():
                pass


Script = Callable[[OriginConnection], Awaitable[None]]


class RawOrigin:
    """Listens on 127.0.0.1; runs one script for every connection, then closes it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Recorded] = []
        self.connections: list[OriginConnection] = []
        self.port = 0

    async def run(
        self, *, task_status: trio.TaskStatus[RawOrigin] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self)
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = OriginConnection(stream, self)
        self.connections.append(connection)
        with suppress(
            trio.BrokenResourceError
        ):  # the gateway may reset what it has no more use for
            await self.script(connection)


def answering(answer: bytes) -> Script:
    """Return a script that reads one request and answers ``answer``."""

    async def script(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(answer)

    return script
