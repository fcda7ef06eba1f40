"""An agent that does one piece of work through whatever it is pointed at.

Owns: the WebSocket upgrade as agent.jar makes it, and three pieces of work: ``upload``,
``download``, ``echo``. Runs as a process of its own and prints one JSON line with what it measured.

``python -m benchmarks.peers.agent PORT TARGET AUTHORITY WORK AMOUNT`` (TARGET is the request
target; AMOUNT blocks of 1 MiB, or round trips).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
import sys
import time
from typing import Any, Final

from benchmarks.peers.ends import cpu_seconds
from benchmarks.wire import (
    CAPABILITY,
    CHUNK,
    CHUNKS_PER_BLOCK,
    MARKER,
    agent_block,
    masked_frame,
)

_READ: Final = 64 * 1024
ECHO_BODY: Final = 200
# Between lone round trips, so that each one finds everything asleep.
ECHO_PAUSE: Final = 0.002


class Agent:
    """A connected agent."""

    def __init__(self, port: int, target: str, authority: str) -> None:
        context = ssl.create_default_context(cafile=authority)
        raw = socket.create_connection(("127.0.0.1", port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = context.wrap_socket(raw, server_hostname="localhost")
        self._buffer = bytearray(_READ)
        self._upgrade(target)

    def _upgrade(self, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._sock.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nNode-Name: bench\r\n"
            f"Secret-Key: {'0' * 64}\r\nX-Remoting-Capability: {CAPABILITY}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self._sock.recv(1)
            if not piece:
                raise SystemExit(f"refused: {head!r}")
            head += piece
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(f"refused: {head.decode('latin-1')}")

    def order(self, **order: Any) -> None:
        body = json.dumps(order).encode()
        self._sock.sendall(masked_frame(struct.pack("!H", len(body)) + body))

    def upload(self, blocks: int, *, framed: bool) -> dict[str, Any]:
        block = agent_block()
        size = len(block) if framed else len(CHUNK) * CHUNKS_PER_BLOCK
        self.order(do="sink", bytes=size * blocks)
        for _ in range(blocks):
            self._sock.sendall(block)
        return self._until_marker()

    def download(self, blocks: int) -> dict[str, Any]:
        self.order(do="source", blocks=blocks)
        return self._until_marker()

    def echo(self, times: int, *, framed: bool) -> list[float]:
        """Return the seconds of each of ``times`` lone round trips of 200 bytes."""
        chunk = struct.pack("!H", ECHO_BODY) + bytes(ECHO_BODY)
        frame = masked_frame(chunk)
        answer = 4 + len(chunk)
        self.order(do="echo", times=times, bytes=len(frame if framed else chunk), answer=ECHO_BODY)
        taken = []
        for _ in range(times):
            time.sleep(ECHO_PAUSE)
            started = time.perf_counter()
            self._sock.sendall(frame)
            missing = answer
            while missing:
                missing -= self._sock.recv_into(self._buffer, missing)
            taken.append(time.perf_counter() - started)
        return taken

    def _until_marker(self) -> dict[str, Any]:
        """Read until the marker; return the JSON in front of it."""
        view = memoryview(self._buffer)
        tail = b""
        while True:
            got = self._sock.recv_into(self._buffer)
            if not got:
                raise SystemExit("closed in the middle")
            tail = bytes(view[got - 256 : got]) if got >= 256 else (tail + bytes(view[:got]))[-256:]
            if tail.endswith(MARKER):
                said: dict[str, Any] = json.loads(tail[tail.rindex(b"{") : -len(MARKER)])
                return said


def main() -> None:
    port, target, authority, work, amount = sys.argv[1:6]
    framed = target != "/wsagents/"
    agent = Agent(int(port), target, authority)
    started, cpu = time.perf_counter(), cpu_seconds()
    result: dict[str, Any] = {}
    if work == "upload":
        result["far_end_cpu"] = agent.upload(int(amount), framed=framed)["cpu"]
    elif work == "download":
        result["far_end_cpu"] = agent.download(int(amount))["cpu"]
    else:
        result["round_trips"] = agent.echo(int(amount), framed=framed)
    result["seconds"] = time.perf_counter() - started
    result["agent_cpu"] = cpu_seconds() - cpu
    print(json.dumps(result))


if __name__ == "__main__":
    main()
