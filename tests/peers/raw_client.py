"""An HTTP client that sends what it is told and reads answers by a few strict lines of its own.

Independent of the gateway's HTTP code, like ``raw_origin``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import trio


class Truncated(Exception):
    """The connection ended in the middle of an answer."""


@dataclass(frozen=True)
class Answer:
    """One answer, body decoded. ``trailers``: raw lines."""

    head: bytes
    body: bytes = b""
    trailers: bytes = b""

    @property
    def status(self) -> int:
        """Return the status code."""
        match = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", self.head)
        assert match is not None, self.head
        return int(match[1])

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


class RawClient:
    """One connection to the gateway. Use as ``async with``."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    @classmethod
    async def connect(cls, port: int) -> RawClient:
        """Connect to 127.0.0.1."""
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def receive(self) -> bool:
        """Wait for bytes; False at the end, orderly or not."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError as error:
            raise Truncated(str(error)) from None
        self.buffer += data
        return bool(data)

    async def _until(self, marker: bytes) -> bytes:
        while (at := self.buffer.find(marker)) < 0:
            if not await self.receive():
                raise Truncated(bytes(self.buffer))
        return self._take(at + len(marker))

    async def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not await self.receive():
                raise Truncated(bytes(self.buffer))
        return self._take(count)

    def _take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def read_head(self) -> Answer:
        """Read a head, final or informational."""
        return Answer(await self._until(b"\r\n\r\n"))

    async def read_answer(self, *, to_head: bool = False) -> Answer:
        """Read a whole final answer; ``to_head``: it answers HEAD."""
        answer = await self.read_head()
        coding, length = answer.get(b"transfer-encoding"), answer.get(b"content-length")
        assert coding is None or length is None, "framed twice"
        if to_head or answer.status in {204, 304}:
            return answer
        if coding is not None:
            assert coding == b"chunked", coding
            body = b""
            while chunk := await self.read_chunk():
                body += chunk
            trailers = b""
            while (line := await self._until(b"\r\n")) != b"\r\n":
                trailers += line
            return Answer(answer.head, body, trailers)
        if length is not None:
            return Answer(answer.head, await self._exactly(int(length)))
        while await self.receive():
            pass
        return Answer(answer.head, self._take(len(self.buffer)))

    async def read_chunk(self) -> bytes:
        """Read one chunk; ``b""`` for the last."""
        line = await self._until(b"\r\n")
        assert re.fullmatch(rb"[0-9a-f]+\r\n", line), line
        size = int(line, 16)
        if not size:
            return b""
        data = await self._exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def ask(self, data: bytes) -> Answer:
        """Send a request and read the answer."""
        await self.send(data)
        return await self.read_answer(to_head=data.startswith(b"HEAD "))

    async def read_to_end(self) -> bytes:
        """Return everything up to an orderly end."""
        while await self.receive():
            pass
        return self._take(len(self.buffer))
