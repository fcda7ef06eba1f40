"""Relayed sessions with TLS on both legs, and so many pings that they meet everything."""

from __future__ import annotations

import os
import random
import ssl
from pathlib import Path
from typing import Any, Final

import trio

from gateway.config.models import GatewayConfig
from tests import certificates
from tests.agents.bridge import SECRET, agent_request, running_gateway
from tests.peers.raw_frames import BINARY, MASK, PING, PONG
from tests.peers.ws_controller import WebSocketController
from tests.peers.ws_end import End

MESSAGES: Final = 120
SIZES: Final = (0, 1, 125, 126, 8194, 65_535, 65_536, 200_000)


class Player:
    """One end that sends messages in pieces, with pauses inside of frames, and answers pings."""

    def __init__(self, end: End, seed: int) -> None:
        self.end = end
        self.sent: list[bytes] = []
        self._random = random.Random(seed)
        self._lock = trio.Lock()
        end.answers = False  # not in the middle of a frame

    @property
    def messages(self) -> list[bytes]:
        return [payload for opcode, payload in self.end.frames if opcode == BINARY]

    @property
    def opcodes(self) -> list[int]:
        return [opcode for opcode, _ in self.end.frames]

    async def play(self) -> None:
        """Send all messages, and return when as many have come."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            seen = 0
            while len(self.messages) < MESSAGES:
                assert await self.end.receive()
                for opcode, payload in self.end.frames[seen:]:
                    if opcode == PING:
                        nursery.start_soon(self._answer, payload)
                seen = len(self.end.frames)
                if self._random.random() < 0.2:  # records pile up in front of it
                    await trio.sleep(self._random.random() * 0.02)

    async def _send(self) -> None:
        for _ in range(MESSAGES):
            payload = os.urandom(self._random.choice(SIZES))
            self.sent.append(payload)
            data = self.end.frame(BINARY, payload)
            cut = self._random.randrange(len(data) + 1)
            async with self._lock:
                for piece in (data[:cut], data[cut:]):
                    if piece:
                        await self.end.stream.send_all(piece)
                    await trio.sleep(self._random.random() * 0.003)

    async def _answer(self, payload: bytes) -> None:
        async with self._lock:
            await self.end.stream.send_all(self.end.frame(PONG, payload))


async def behind_tls(
    context: ssl.SSLContext, port: int, *, task_status: trio.TaskStatus[int]
) -> None:
    """Take TLS connections for the plain ``port``; start with the port for them."""

    async def serve(raw: trio.SocketStream) -> None:
        near = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        far = await trio.open_tcp_stream("127.0.0.1", port)
        async with far, trio.open_nursery() as nursery:
            nursery.start_soon(copy, near, far)
            nursery.start_soon(copy, far, near)

    async def copy(source: Any, sink: Any) -> None:
        try:
            while data := await source.receive_some(65_536):
                await sink.send_all(data)
            await (sink.send_eof() if isinstance(sink, trio.SocketStream) else sink.aclose())
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(serve, [listener], handler_nursery=nursery)


async def test_pings_between_frames_over_tls_on_both_legs(tmp_path: Path) -> None:
    pair = certificates.write(tmp_path, "localhost")
    authority = tmp_path / "ca.pem"
    certificates.authority().cert_pem.write_to_path(str(authority))
    far = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    far.load_cert_chain(pair.certificate, pair.key)
    players: list[Player] = []
    done = trio.Event()

    async def serve(end: End) -> None:
        players.append(Player(end, 2))
        await players[0].play()
        done.set()
        await trio.sleep_forever()

    controller = WebSocketController({"my-agent": SECRET}, serve)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        port = await nursery.start(behind_tls, far, controller.port)
        certificate = {"certificate": str(pair.certificate), "key": str(pair.key)}
        made = GatewayConfig.model_validate(
            {
                "state_dir": str(tmp_path / "state"),
                "listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [certificate]}}],
                "controllers": {
                    "main": {
                        "url": f"https://localhost:{port}/",
                        "addresses": [f"127.0.0.1:{port}"],
                        "tls": {"ca_file": str(authority)},
                        "agents": {"transport": "websocket"},
                    }
                },
                "agents": {"keepalive": {"interval": "3ms"}},
                "log": {"access": {"to": "off"}},
            }
        )
        async with running_gateway(made) as own:
            near = ssl.create_default_context(cafile=str(authority))
            raw = await trio.open_tcp_stream("127.0.0.1", own)
            stream = trio.SSLStream(raw, near, server_hostname="localhost", https_compatible=True)
            await stream.send_all(agent_request())
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
            head, _, early = head.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            agent = Player(End(stream, MASK, early), 1)
            await agent.play()
            await done.wait()
            await raw.aclose()
        nursery.cancel_scope.cancel()
    (other,) = players
    assert agent.messages == other.sent
    assert other.messages == agent.sent
    for player in (agent, other):
        assert player.opcodes.count(PING) > 10
        assert PONG not in player.opcodes
