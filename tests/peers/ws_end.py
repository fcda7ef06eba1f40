"""One end of an open WebSocket, client or server, that reads and writes whole frames by itself.

Owns: RFC 6455 section 5.2 once more, small and strict where it matters: what a client sends is
masked, what a server sends is not. It keeps everything that came, and answers pings unless told not
to.
"""

from __future__ import annotations

import trio

from tests.peers.raw_frames import CLOSE, PING, PONG, frame, masked

Frame = tuple[int, bytes]


class End:
    """One end. ``mask`` is what its own frames carry: a client's have one."""

    def __init__(self, stream: trio.abc.Stream, mask: bytes | None, early: bytes = b"") -> None:
        self.stream = stream
        self.raw = b""  # everything that came
        self.frames: list[Frame] = []
        self.answers = True  # pings
        self.over = trio.Event()  # the other side has ended the connection
        self._mask = mask
        self._buffer = early  # what came with the handshake

    def frame(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
        return frame(opcode, payload, final=final, mask=self._mask)

    async def send(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
        """Send one frame; return its bytes."""
        data = self.frame(opcode, payload, final=final)
        await self.stream.send_all(data)
        return data

    async def close(self, code: int = 1000) -> bytes:
        return await self.send(CLOSE, code.to_bytes(2, "big"))

    async def receive(self) -> bool:
        """Take what comes, and answer pings; False at the end."""
        if not self._buffer or self.raw:
            try:
                data = await self.stream.receive_some(1 << 20)
            except trio.BrokenResourceError:
                self.over.set()
                raise
            if not data:
                self.over.set()
                return False
            self._buffer += data
            self.raw += data
        else:
            self.raw = self._buffer
        while (read := self._read()) is not None:
            self.frames.append(read)
            if read[0] == PING and self.answers:
                await self.send(PONG, read[1])
        return True

    def _read(self) -> Frame | None:
        data = self._buffer
        if len(data) < 2:
            return None
        # What a far end gets carries a mask exactly where its own frames carry none.
        assert bool(data[1] & 0x80) is (self._mask is None)
        length, start = data[1] & 0x7F, 2
        if length > 125:
            width = 2 if length == 126 else 8
            length, start = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        mask = b""
        if self._mask is None:
            mask, start = data[start : start + 4], start + 4
        if len(data) < start + length:
            return None
        payload = data[start : start + length]
        self._buffer = data[start + length :]
        return data[0] & 0x0F, masked(payload, mask) if mask else payload

    async def read_until(self, *opcodes: int) -> Frame:
        """Return the first frame of one of ``opcodes`` from here on."""
        at = len(self.frames)
        while True:
            for each in self.frames[at:]:
                if each[0] in opcodes:
                    return each
            at = len(self.frames)
            assert await self.receive(), f"ended without {opcodes}"

    async def read_to_end(self) -> list[Frame]:
        while await self.receive():
            pass
        return self.frames

    async def serve(self) -> None:
        """Read until the end, and answer pings and the Close frame."""
        closed = False
        try:
            while await self.receive():
                if not closed and self.frames and self.frames[-1][0] == CLOSE:
                    closed = True
                    await self.send(CLOSE, self.frames[-1][1][:2])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
