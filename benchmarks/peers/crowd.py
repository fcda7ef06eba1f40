"""Many agents in one process: hundreds or thousands of sessions on one epoll loop.

Owns: TLS on memory BIOs, the upgrade, and what sessions do when told: nothing (pings are answered),
a bulk each, batches one after the other, messages at a pace. A batch or message leaves in one
``send``, so that the proxy finds all of it at one wake-up. Each session is a generator that yields
what it waits for; one that does no work costs nothing but its pongs.

``python -m benchmarks.peers.crowd PORT TARGET AUTHORITY FIRST`` (FIRST is the number of its first
agent; agents are named load-NUMBER) takes orders as lines of JSON and answers each with one line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Generator
from typing import Any, Final

from benchmarks.peers.ends import cpu_seconds
from benchmarks.wire import (
    ANSWER_BODY,
    CAPABILITY,
    CHUNK,
    CHUNKS_PER_BLOCK,
    MARKER,
    agent_block,
    batch_frames,
    masked_frame,
    message_frame,
)

_READ: Final = 256 * 1024
_PIECE: Final = 64 * 1024
# Gateways limit what one address may have; loopback has 16 million addresses.
_PER_ADDRESS: Final = 500
# Between two sessions that end: thousands at once would only measure how ends die.
_CLOSING: Final = 0.0005
_PAYLOAD: Final = len(CHUNK) * CHUNKS_PER_BLOCK

Work = Generator[int, None, None]


def secret_of(node: str) -> str:
    """Return the secret that ``node`` presents; who issues it computes the same."""
    return hashlib.sha256(node.encode()).hexdigest()


class Session:
    """One agent."""

    def __init__(self, number: int, address: tuple[str, int], context: ssl.SSLContext) -> None:
        source = f"127.{1 + number // _PER_ADDRESS}.0.1"
        self.number = number
        self.sock = socket.create_connection(address, 30, (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._plain = bytearray()
        self._early: list[bytes] = []

    # -- the connection ----------------------------------------------------------------------------

    def connect(self, target: str) -> Work:
        """Shake hands and upgrade as agent.jar does."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield from self._flush()
                yield from self._receive()
        node = f"load-{self.number}"
        key = base64.b64encode(os.urandom(16)).decode()
        yield from self.send(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nNode-Name: {node}\r\n"
            f"Secret-Key: {secret_of(node)}\r\nX-Remoting-Capability: {CAPABILITY}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._decrypt()
        while (end := self._plain.find(b"\r\n\r\n")) < 0:
            yield from self._receive()
        if b" 101 " not in self._plain[: self._plain.index(b"\r\n")]:
            raise SystemExit(f"{node} refused: {self._plain.decode('latin-1')}")
        del self._plain[: end + 4]

    def send(self, data: bytes) -> Work:
        """Send all of ``data`` in one piece, or in pieces of 64 KiB if it is larger than twice."""
        if len(data) <= 2 * _PIECE:
            self._tls.write(data)
            yield from self._flush()
            return
        view = memoryview(data)
        for start in range(0, len(data), _PIECE):
            self._tls.write(view[start : start + _PIECE])
            yield from self._flush()

    def _flush(self) -> Work:
        view = memoryview(self._outgoing.read())
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                yield select.EPOLLOUT

    def _receive(self) -> Work:
        """Wait until something came, and decrypt it."""
        while not self._fill():
            yield select.EPOLLIN

    def _fill(self) -> bool:
        try:
            data = self.sock.recv(_READ)
        except BlockingIOError:
            return False
        if not data:
            raise SystemExit(f"load-{self.number}: closed in the middle, {bytes(self._plain)!r}")
        self._incoming.write(data)
        self._decrypt()
        return True

    def _decrypt(self) -> None:
        if self._tls.version() is None:
            return  # the handshake is still under way
        try:
            while True:
                self._plain += self._tls.read(_PIECE)
        except ssl.SSLWantReadError:
            return

    # -- frames ------------------------------------------------------------------------------------

    def idle(self) -> None:
        """Take what came while there is no work: pings, or the answer to the work before."""
        if self._fill() and (payload := self._take()) is not None:
            self._early.append(payload)

    def _take(self) -> bytes | None:
        """Return the payload of the next whole data frame; answer pings in front of it."""
        if self._early:
            return self._early.pop(0)
        plain = self._plain
        while len(plain) >= 2:
            size, start = plain[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(plain[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(plain[2:10], "big"), 10
            if len(plain) < start + size:
                break
            opcode, payload = plain[0] & 0x0F, bytes(plain[start : start + size])
            del plain[: start + size]
            if opcode == 9:
                self._tls.write(masked_frame(payload, 10))
                # An idle connection takes a pong; where it does not, this fails and is seen.
                self.sock.send(self._outgoing.read())
            elif opcode == 8:
                raise SystemExit(f"load-{self.number}: the proxy closed it, {payload!r}")
            elif payload:
                return payload
        return None

    def read_bytes(self, size: int) -> Work:
        """Read frames of ``size`` bytes of payload in all."""
        while size > 0:
            payload = self._take()
            if payload is None:
                yield from self._receive()
            else:
                size -= len(payload)

    def read_marker(self) -> Work:
        tail = b""
        while not tail.endswith(MARKER):
            payload = self._take()
            if payload is None:
                yield from self._receive()
            else:
                tail = (tail + payload)[-len(MARKER) :]

    # -- work --------------------------------------------------------------------------------------

    def order(self, **order: Any) -> Work:
        body = json.dumps(order).encode()
        yield from self.send(masked_frame(struct.pack("!H", len(body)) + body))

    def bulk(self, blocks: int, *, framed: bool) -> Work:
        """Move ``blocks`` of 1 MiB up, then down."""
        block = agent_block()
        yield from self.order(do="sink", bytes=(len(block) if framed else _PAYLOAD) * blocks)
        for _ in range(blocks):
            yield from self.send(block)
        yield from self.read_marker()
        yield from self.order(do="source", blocks=blocks)
        yield from self.read_marker()

    def prepare(self, times: int, size: int) -> Work:
        """Tell the far end that batches come, and wait until it is ready.

        The far end has a thread for each session: thousands that wake up at once would starve it.
        """
        yield from self.order(do="echo", times=times, bytes=size, answer=ANSWER_BODY, ready=True)
        yield from self.read_bytes(2 + ANSWER_BODY)

    def batch(self, data: bytes) -> Work:
        """Send ``data``, wait for the answer."""
        yield from self.send(data)
        yield from self.read_bytes(2 + ANSWER_BODY)


class Crowd:
    """The sessions of this process, and the loop that they run on."""

    def __init__(self, port: int, target: str, authority: str, first: int) -> None:
        self._context = ssl.create_default_context(cafile=authority)
        self._address = ("127.0.0.1", port)
        self._target = target
        self._framed = target != "/wsagents/"
        self._first = first
        self._epoll = select.epoll()
        self._sessions: list[Session] = []
        self._by_fd: dict[int, Session] = {}
        self._work: dict[int, Work] = {}
        self._wants: dict[int, int] = {}
        self._epoll.register(0, select.EPOLLIN)

    def serve(self) -> None:
        """Take orders until their end."""
        while True:
            if not self._poll(-1):
                continue
            line = os.read(0, 1 << 16)  # one order at a time, and each fits into a pipe
            if not line:
                break
            order = json.loads(line)
            began, cpu = time.perf_counter(), cpu_seconds()
            result = getattr(self, f"_{order.pop('do')}")(**order) or {}
            result["seconds"] = time.perf_counter() - began
            result["cpu"] = cpu_seconds() - cpu
            print(json.dumps(result), flush=True)
        for session in self._sessions:
            session.sock.close()
            time.sleep(_CLOSING)

    # -- orders ------------------------------------------------------------------------------------

    def _open(self, count: int, together: int) -> None:
        """Open ``count`` more sessions, so many at a time."""
        for _ in range(count):
            while len(self._work) >= together:
                self._go_on(-1)
            number = self._first + len(self._sessions)
            session = Session(number, self._address, self._context)
            self._sessions.append(session)
            self._epoll.register(session.sock.fileno(), select.EPOLLIN)
            self._by_fd[session.sock.fileno()] = session
            self._start(session, session.connect(self._target))
        self._finish()

    def _bulk(self, mib: int, together: int) -> None:
        for session in self._sessions:
            while len(self._work) >= together:
                self._go_on(-1)
            self._start(session, session.bulk(mib, framed=self._framed))
        self._finish()

    def _prepare(self, size: int, batches: int) -> None:
        """Tell the far ends that batches come."""
        data, payload = batch_frames(size)
        times = batches // len(self._sessions)
        for session in self._sessions:
            expected = len(data) if self._framed else payload
            self._start(session, session.prepare(times, expected))
            self._wait(session)

    def _batches(self, size: int, batches: int) -> dict[str, Any]:
        """Send batches of ``size``, one session after the other, each when the last is answered."""
        data, payload = batch_frames(size)
        times = batches // len(self._sessions)
        for _ in range(times):
            for session in self._sessions:
                self._start(session, session.batch(data))
                self._wait(session)
        return {"bytes": payload * times * len(self._sessions)}

    def _messages(self, size: int, every: float, seconds: float) -> dict[str, Any]:
        """Half of the sessions send a message each ``every`` seconds, the others are sent to."""
        frame = message_frame(size)
        half = len(self._sessions) // 2
        senders, receivers = self._sessions[:half], self._sessions[half:]
        times = int(seconds / every)
        expected = len(frame) if self._framed else size
        for session in senders:
            self._start(session, session.order(do="sink", bytes=expected * times))
        for index, session in enumerate(receivers):
            pace = {"size": size, "every": every, "times": times}
            wait = every * index / len(receivers)
            self._start(session, session.order(do="pace", wait=wait, **pace))
        self._finish()
        for session in receivers:
            self._start(session, session.read_bytes(size * times))
        began, late = time.perf_counter(), 0.0
        for index in range(times * len(senders)):
            at = began + every * index / len(senders)
            while (left := at - time.perf_counter()) > 0:
                self._go_on(left)
            late = max(late, -left)
            session = senders[index % len(senders)]
            self._wait(session)
            self._start(session, session.send(frame))
        self._finish()
        taken = time.perf_counter() - began
        for session in senders:
            self._start(session, session.read_marker())
        self._finish()
        return {"messages": times * len(self._sessions), "took": taken, "latest": late}

    # -- the loop ----------------------------------------------------------------------------------

    def _start(self, session: Session, work: Work) -> None:
        fd = session.sock.fileno()
        self._work[fd] = work
        self._step(fd)

    def _step(self, fd: int) -> None:
        try:
            wants = next(self._work[fd])
        except StopIteration:
            del self._work[fd]
            wants = select.EPOLLIN
        if wants != self._wants.get(fd, select.EPOLLIN):
            self._wants[fd] = wants
            self._epoll.modify(fd, wants)

    def _finish(self) -> None:
        while self._work:
            self._go_on(-1)

    def _wait(self, session: Session) -> None:
        """Wait until ``session`` has nothing to do."""
        while session.sock.fileno() in self._work:
            self._go_on(-1)

    def _go_on(self, timeout: float) -> None:
        if self._poll(timeout):
            raise SystemExit("an order in the middle of another: the benchmark is gone")

    def _poll(self, timeout: float) -> bool:
        """Let sessions go on; return True if an order has come."""
        ordered = False
        for fd, _ in self._epoll.poll(timeout):
            if fd == 0:
                ordered = True
            elif fd in self._work:
                self._step(fd)
            else:
                self._by_fd[fd].idle()
        return ordered


def main() -> None:
    port, target, authority, first = sys.argv[1:5]
    Crowd(int(port), target, authority, int(first)).serve()


if __name__ == "__main__":
    main()
