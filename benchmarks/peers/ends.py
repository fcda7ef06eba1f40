"""What accepts at the far end of a relay: a controller (JNLP4 over TLS), an origin (WebSocket over
TLS) or a plain stream (TLS and nothing else, for tunnels that unwrap).

Owns: the work, told by the agent in its first chunk as JSON: ``sink`` (read so many bytes, then
answer), ``source`` (send so many blocks, then the marker), ``echo`` (answer every so many bytes),
``pace`` (send a message every so often).
The answers to ``sink`` and ``source`` name the CPU seconds that the work took this process, so that
a result can show whether it was this end that limited it.

``python -m benchmarks.peers.ends controller|origin|stream FOLDER`` prints its port and serves until
killed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import resource
import socket
import ssl
import struct
import sys
import threading  # noqa: TID251 - load generators block
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.wire import CAPABILITY, MARKER, controller_block, origin_block, server_frame

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_READ: Final = 64 * 1024
# What is read and dropped; shared by all threads, and nobody looks at it.
_DROPPED: Final = bytearray(_READ)
# There may be 5,000 threads, each asleep in one read.
_STACK: Final = 256 * 1024


def cpu_seconds() -> float:
    """User and system seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class End:
    """One accepted connection after its handshake, with the framing that it speaks."""

    def __init__(self, sock: ssl.SSLSocket, *, framed: bool) -> None:
        self._sock = sock
        self._framed = framed
        self._block = origin_block() if framed else controller_block()

    def serve(self) -> None:
        """Take orders until the agent leaves."""
        while (order := self._read_order()) is not None:
            before = cpu_seconds()
            if order["do"] == "sink":
                self._sink(order["bytes"])
                self._send_cpu(before)
            elif order["do"] == "source":
                for _ in range(order["blocks"]):
                    self._sock.sendall(self._block)
                self._send_cpu(before)
            elif order["do"] == "pace":
                self._pace(order["size"], order["every"], order["times"], order["wait"])
            else:
                self._echo(
                    order["times"], order["bytes"], order["answer"], ready=order.get("ready")
                )

    def _read_order(self) -> dict[str, Any] | None:
        """Read one chunk; behind a frame header and mask where there is framing."""
        mask = b""
        if self._framed:
            head = self._exactly(2)
            while head is not None and head[0] == 0x89:  # a relay pings both ends
                mask = self._exactly(4) or b""
                pong = self._exactly(head[1] & 0x7F, mask) or b""
                self._sock.sendall(bytes((0x8A, len(pong))) + pong)
                head = self._exactly(2)
            if head is None or head[0] != 0x82:
                return None
            if head[1] & 0x7F == 126:
                self._exactly(2)
            mask = self._exactly(4) or b""
        chunk = self._exactly(2, mask)
        if chunk is None:
            return None
        size = struct.unpack("!H", chunk)[0] & 0x7FFF
        turned = mask[2:] + mask[:2]
        body = self._exactly(size, turned)
        return None if body is None else json.loads(body)

    def _exactly(self, size: int, mask: bytes = b"") -> bytes | None:
        data = b""
        while len(data) < size:
            piece = self._sock.recv(size - len(data))
            if not piece:
                return None
            data += piece
        if mask:
            data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        return data

    def _sink(self, size: int) -> None:
        receive = self._sock.recv_into
        while size > 0:
            got = receive(_DROPPED, min(size, _READ))
            if not got:
                raise ConnectionError("the agent left in the middle")
            size -= got

    def _echo(self, times: int, size: int, answer: int, *, ready: bool | None) -> None:
        reply = struct.pack("!H", answer) + bytes(answer)
        if self._framed:
            reply = server_frame(reply)
        if ready:
            self._sock.sendall(reply)
        for _ in range(times):
            self._sink(size)
            self._sock.sendall(reply)

    def _pace(self, size: int, every: float, times: int, wait: float) -> None:
        message = struct.pack("!H", size - 2) + bytes(size - 2)
        if self._framed:
            message = server_frame(message)
        began = time.monotonic() + wait
        for number in range(times):
            time.sleep(max(0.0, began + number * every - time.monotonic()))
            self._sock.sendall(message)

    def _send_cpu(self, before: float) -> None:
        self._send(json.dumps({"cpu": cpu_seconds() - before}).encode() + MARKER)

    def _send(self, body: bytes) -> None:
        chunk = struct.pack("!H", len(body)) + body
        self._sock.sendall(server_frame(chunk) if self._framed else chunk)


def accept_controller(raw: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    """Play a controller up to the channel (PROTOCOLS C.2); None for a port probe or ``GET``."""
    first = raw.recv(2, socket.MSG_WAITALL)
    if first == b"GE":
        raw.sendall(b"HTTP/1.0 200 OK\r\n\r\nRemoting-Minimum-Version: 4.13\r\n")
    if len(first) < 2 or first == b"GE":
        raw.close()
        return None
    size = int.from_bytes(first, "big")
    name = raw.recv(size, socket.MSG_WAITALL)
    if name != b"Protocol:JNLP4-connect":
        raw.sendall(b"Ping\n")
        raw.close()
        return None
    raw.recv(5, socket.MSG_WAITALL)
    raw.sendall(_string("ACK"))
    sock = context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=True)
    _read_string(sock)
    sock.sendall(_string('{"JnlpAgentProtocol.cookie":"00ff"}') + _string("OK"))
    _read_string(sock)
    sock.sendall(_string(CAPABILITY))
    _read_string(sock)
    return sock


def accept_origin(raw: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    """Answer a WebSocket upgrade."""
    sock = context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=True)
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(4096)
        if not piece:
            return None
        head += piece
    lines = head.split(b"\r\n")
    key = next(
        line.split(b":")[1].strip()
        for line in lines
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return sock


def accept_stream(raw: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    return context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=True)


_ACCEPT: Final = {
    "controller": accept_controller,
    "origin": accept_origin,
    "stream": accept_stream,
}


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _read_string(sock: ssl.SSLSocket) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        want = 2 - len(data) if len(data) < 2 else 2 + int.from_bytes(data[:2], "big") - len(data)
        piece = sock.recv(want)
        if not piece:
            raise ConnectionError("closed during the handshake")
        data += piece
    return data[2:]


def _serve_one(
    raw: socket.socket,
    context: ssl.SSLContext,
    accept: Callable[[socket.socket, ssl.SSLContext], ssl.SSLSocket | None],
) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock = accept(raw, context)
        if sock is not None:
            End(sock, framed=accept is accept_origin).serve()
    except (OSError, ConnectionError):
        pass  # the agent left; the next one is another thread's
    finally:
        raw.close()


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    accept = _ACCEPT[kind]
    if kind == "stream":
        context.num_tickets = 0  # websockify waits for data as soon as one arrives
    threading.stack_size(_STACK)
    # Threads that wait for the interpreter wake up this often: at 5 ms, the default, a few thousand
    # would keep a processor busy. Every one lets go by itself when it reads or sends.
    sys.setswitchinterval(1)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(raw, context, accept), daemon=True).start()


if __name__ == "__main__":
    main()
