"""Fixed pieces of work on the hot path, without sockets.

Owns: what is fed to which part. A batch is what one wake-up brings in bulk: 8 frames of an agent
with a chunk of 8 KiB each, about 64 KiB; ``small`` is a lone frame of 200 bytes.

``python -m benchmarks.micro.work NAME COUNT FOLDER`` does one of them so many times, for callgrind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.wire import CHUNK, message_frame, server_frame
from gateway.protocol.chunks import ChunkCutter
from gateway.protocol.masking import apply_mask
from gateway.protocol.websocket import Opcode, WebSocketReader, frame_header
from gateway.protocol.ws_relay import FrameScanner

if TYPE_CHECKING:
    from gateway.protocol.tls import TlsEngine

FRAMES: Final = 8
_SMALL: Final = 200


@dataclass(frozen=True, slots=True)
class Work:
    """``prepare`` makes what one turn of ``do`` takes, which cannot be had twice where it is TLS.

    ``size`` are the bytes of payload of a turn; ``after`` names the work that ``prepare`` does.
    """

    name: str
    size: int
    frames: int
    prepare: Callable[[], Any]
    do: Callable[[Any], Any]
    after: str = ""


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
        sender, _ = _connected(folder)
        encrypt = sender.send_data
        yield Work(f"TLS encrypt{name}", len(data), frames, _give(data), encrypt)
        sender, receiver = _connected(folder)
        yield Work(
            f"TLS decrypt{name}",
            len(data),
            frames,
            _encrypted(sender, data),
            receiver.receive_data,
            after=f"TLS encrypt{name}",
        )


def _give(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _encrypted(sender: TlsEngine, data: bytes) -> Callable[[], bytes]:
    return lambda: b"".join(sender.send_data(data))


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


def _connected(folder: Path) -> tuple[TlsEngine, TlsEngine]:
    """Return a client and a server after their handshake, with the gateway's own contexts."""
    # Imported here because under callgrind each import takes a hundred times as long.
    from gateway.config.models import GatewayConfig
    from gateway.protocol.tls import TlsEngine
    from gateway.transport.tls_context import ServerContexts, pinning_client_context

    files = {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
    listener = {"address": "127.0.0.1:0", "tls": {"certificates": [files]}}
    controllers = {"main": {"url": "http://127.0.0.1:9/"}}
    config = GatewayConfig.model_validate(
        {"state_dir": str(folder), "listeners": [listener], "controllers": controllers}
    )
    tls = config.listeners[0].tls
    assert tls is not None
    client = TlsEngine(pinning_client_context(), server_side=False)
    server = TlsEngine(ServerContexts(tls).entry, server_side=True)
    to_server, to_client = client.handshake(), b""
    while not (client.handshake_done and server.handshake_done):
        to_client = server.handshake(to_server)
        to_server = client.handshake(to_client)
    server.receive_data(to_server)
    client.receive_data(server.data_to_send())
    return client, server


def main() -> None:
    name, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    work = next(work for work in works(folder) if work.name == name)
    for _ in range(count):
        work.do(work.prepare())


if __name__ == "__main__":
    main()
