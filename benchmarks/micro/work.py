"""Fixed pieces of work on the hot path, by themselves.

Owns: what is fed to which part. A batch is what one wake-up brings in bulk: 8 frames of an agent
with a chunk of 8 KiB each, about 64 KiB; ``small`` is a lone frame of 200 bytes. TLS is measured
with the socket that OpenSSL reads and writes itself, a Unix socket pair.

``python -m benchmarks.micro.work NAME COUNT FOLDER`` does one of them so many times, for callgrind.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.wire import CHUNK, message_frame, server_frame
from gateway.protocol.chunks import ChunkCutter
from gateway.protocol.masking import apply_mask
from gateway.protocol.websocket import Opcode, WebSocketReader, frame_header
from gateway.protocol.ws_relay import FrameScanner

FRAMES: Final = 8
_SMALL: Final = 200


@dataclass(frozen=True, slots=True)
class Work:
    """``prepare`` makes what one turn of ``do`` takes, which cannot be had twice where it is TLS.

    ``size`` are the bytes of payload of a turn; ``after`` names the work that ``prepare`` does;
    ``ahead`` turns may be prepared before the first is done.
    """

    name: str
    size: int
    frames: int
    prepare: Callable[[], Any]
    do: Callable[[Any], Any]
    after: str = ""
    ahead: int = 64


def works(folder: Path) -> Iterator[Work]:
    """Yield all of them, those without TLS first; certificates are in ``folder``."""
    batch = message_frame(len(CHUNK)) * FRAMES
    small = message_frame(_SMALL)
    chunks = CHUNK * FRAMES
    mask = b"\x12\x34\x56\x78"
    yield Work("unmask", len(CHUNK), 1, lambda: CHUNK, lambda data: apply_mask(data, mask))
    for name, data, frames, size in (
        ("", batch, FRAMES, len(chunks)),
        (", small", small, 1, _SMALL),
    ):
        yield Work(f"read frames{name}", size, frames, _give(data), _read(WebSocketReader()))
    yield Work("scan frames of a relay", len(batch), FRAMES, _give(batch), _scanner().receive_data)
    relayed = server_frame(CHUNK) * FRAMES
    name = "scan frames of a relay, unmasked"
    yield Work(name, len(relayed), FRAMES, _give(relayed), _scanner().receive_data)
    yield Work("cut chunks, make frames", len(chunks), FRAMES, _give(chunks), _cut(ChunkCutter()))
    for name, data, frames in (("", batch, FRAMES), (", small", small, 1)):
        link = _Link(folder)
        yield Work(
            f"TLS encrypt{name}",
            len(data),
            frames,
            link.after_emptying(data),
            link.send,
            ahead=1,
        )
        link = _Link(folder)
        yield Work(
            f"TLS decrypt{name}",
            len(data),
            frames,
            link.after_sending(data),
            link.receive,
            after=f"TLS encrypt{name}",
            ahead=1,
        )


def _give(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _read(reader: WebSocketReader) -> Callable[[bytes], bytes]:
    def read(data: bytes) -> bytes:
        reader.receive_data(data)
        payload = reader.read_binary()
        reader.next_event()
        return payload

    return read


def _scanner() -> FrameScanner:
    return FrameScanner(lambda _: False)


def _cut(cutter: ChunkCutter) -> Callable[[bytes], bytes]:
    def cut(data: bytes) -> bytes:
        parts: list[bytes | memoryview] = []
        for message in cutter.receive_data(data):
            parts.append(frame_header(Opcode.BINARY, len(message)))
            parts.append(message)
        return b"".join(parts)

    return cut


class _Link:
    """A client and a server after their handshake, with the gateway's own contexts."""

    def __init__(self, folder: Path) -> None:
        # Imported here because under callgrind each import takes a hundred times as long.
        from gateway.config.models import GatewayConfig
        from gateway.transport.tls import TlsEngine
        from gateway.transport.tls_context import ServerContexts, pinning_client_context

        files = {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
        listener = {"address": "127.0.0.1:0", "tls": {"certificates": [files]}}
        controllers = {"main": {"url": "http://127.0.0.1:9/"}}
        config = GatewayConfig.model_validate(
            {"state_dir": str(folder), "listeners": [listener], "controllers": controllers}
        )
        tls = config.listeners[0].tls
        assert tls is not None
        self._sockets = socket.socketpair()
        client = TlsEngine(pinning_client_context(), server_side=False)
        server = TlsEngine(ServerContexts(tls).entry, server_side=True)
        for engine, end in zip((client, server), self._sockets, strict=True):
            end.setblocking(False)
            engine.attach(end)
        while not (client.handshake_done and server.handshake_done):
            for engine in (client, server):
                if not engine.handshake_done:
                    engine.handshake()
        client.receive()  # the tickets
        self._client, self._server = client, server

    def after_emptying(self, data: bytes) -> Callable[[], bytes]:
        """Return what throws away what the server was sent, and gives ``data`` to be sent."""

        def empty() -> bytes:
            with contextlib.suppress(BlockingIOError):
                while self._sockets[1].recv(1 << 20):
                    pass
            return data

        return empty

    def after_sending(self, data: bytes) -> Callable[[], None]:
        return lambda: self.send(data)

    def send(self, data: bytes) -> None:
        assert self._client.send(data)

    def receive(self, _prepared: None) -> bytes:
        return self._server.receive()


def main() -> None:
    name, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    work = next(work for work in works(folder) if work.name == name)
    for _ in range(count):
        work.do(work.prepare())


if __name__ == "__main__":
    main()
