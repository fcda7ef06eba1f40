"""A controller that does exactly what a script says, byte by byte, and keeps what it was told.

Owns: the TCP agent port (PROTOCOLS B.3, C.1, C.2) and the discovery document (B.1), each with an
honest default that a test may leave at any stage. TLS is ``trio.SSLStream``, keys and certificates
are the stand-in controller's.

    controller = ScriptedController(stopping_at(Stage.VERDICT, close))
    await nursery.start(controller.run)
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import IntEnum
from functools import cache
from typing import Final

import trio

from gateway.demo.identity import InstanceIdentity

ACK: Final = b"\x00\x03ACK"
COOKIE: Final = "c0" * 32
CAPABILITY: Final = (
    "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAP4="
)
MINIMUM_VERSION: Final = "3107.v665000b_51092"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Gone(Exception):
    """The other end closed or reset the connection."""


class Stage(IntEnum):
    """What the controller is about to say. The number orders them."""

    ACK = 1
    TLS = 2
    HEADERS = 3
    VERDICT = 4
    CAPABILITY = 5
    CHANNEL = 6


@cache
def own_identity() -> InstanceIdentity:
    """Return the key of every scripted controller that is given no other; making one takes long."""
    return InstanceIdentity()


@cache
def other_identity() -> InstanceIdentity:
    """Return a key that nobody expects."""
    return InstanceIdentity()


@cache
def third_identity() -> InstanceIdentity:
    """Return one more key."""
    return InstanceIdentity()


@cache
def tls_context(
    identity: InstanceIdentity, maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> ssl.SSLContext:
    """Return the server context for ``identity``."""
    return identity.server_context(maximum=maximum)


def string(text: str | bytes) -> bytes:
    """Return a U16STR (PROTOCOLS 0.2)."""
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(2, "big") + data


class Visit:
    """One connection, at either port.

    ``clear``: every byte received outside TLS, the handshake's records excepted; ``inside``: every
    byte of application data. ``ended`` is set when the other end is done.
    """

    def __init__(self, sock: trio.SocketStream, controller: ScriptedController) -> None:
        self.controller = controller
        self.clear = bytearray()
        self.inside = bytearray()
        self.ended = trio.Event()
        self.reset = False  # the end was a reset
        self.opening = ""
        self.headers: dict[str, str | None] = {}
        self.header_bytes = b""
        self.verdict = ""
        self.capability = ""
        self.tls_version: str | None = None
        self._socket = sock
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = sock
        self._buffer = bytearray()

    @property
    def in_tls(self) -> bool:
        return self._stream is not self._socket

    async def receive(self, size: int = 65536) -> bytes:
        """Return what arrives next, ``b""`` at the end. Everything received is kept."""
        try:
            data = bytes(await self._stream.receive_some(size))
        except trio.BrokenResourceError as error:
            self.reset = "EOF" not in str(error.__cause__)
            data = b""
        if not data:
            self.ended.set()
        (self.inside if self.in_tls else self.clear).extend(data)
        return data

    async def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. Raises Gone. Below TLS nothing beyond them is taken."""
        while len(self._buffer) < size:
            data = await self.receive(65536 if self.in_tls else size - len(self._buffer))
            if not data:
                raise Gone
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def read_string(self) -> bytes:
        return await self.read(int.from_bytes(await self.read(2), "big"))

    async def read_until(self, marker: bytes) -> bytes:
        """Return everything up to and including ``marker``. Raises Gone."""
        while marker not in self._buffer:
            data = await self.receive()
            if not data:
                raise Gone
            self._buffer += data
        size = self._buffer.index(marker) + len(marker)
        return await self.read(size)

    async def read_to_end(self) -> None:
        """Wait until the other end is done, keeping what still comes."""
        while not self.ended.is_set():
            await self.receive()

    async def send(self, data: bytes) -> None:
        """Send ``data``. Raises Gone."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended.set()
            raise Gone from None

    async def send_in_clear(self, data: bytes) -> None:
        """Send ``data`` below TLS."""
        await self._socket.send_all(data)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the server's side of the TLS handshake. Raises Gone."""
        stream = trio.SSLStream(self._socket, context, server_side=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            self.ended.set()
            raise Gone from None
        self._stream = stream
        self.tls_version = stream.version()

    def fin(self) -> None:
        """End our direction with a bare EOF, as Java does."""
        with suppress(OSError):
            self._socket.socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Close with a reset."""
        with suppress(OSError):
            self._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.socket.close()
        self.ended.set()

    def abandon(self) -> None:
        """Give the socket back."""
        self._socket.socket.close()


Script = Callable[[Visit], Awaitable[None]]


async def stay_silent(visit: Visit) -> None:
    """Say nothing more, but listen until the other end is done."""
    await visit.read_to_end()


async def close(visit: Visit) -> None:
    """End with a bare EOF."""
    visit.fin()
    await visit.read_to_end()


async def reset(visit: Visit) -> None:
    """End with a reset."""
    visit.kill()


def saying(data: bytes, *, then: Script = stay_silent) -> Script:
    """Return a script that says ``data`` instead of what is due."""

    async def script(visit: Visit) -> None:
        await visit.send(data)
        await then(visit)

    return script


def stopping_at(
    stage: Stage,
    then: Script,
    *,
    identity: InstanceIdentity | None = None,
    headers: str | bytes = json.dumps({"JnlpAgentProtocol.cookie": COOKIE}),
    capability: str | bytes = CAPABILITY,
    maximum_tls: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    over_tls: bool = True,
) -> Script:
    """Return a script that is honest up to ``stage``, and there goes on with ``then``."""

    async def script(visit: Visit) -> None:
        shown = visit.controller.identity if identity is None else identity
        if stage > Stage.ACK:
            await visit.send(ACK)
            assert await visit.read(len(ACK)) == ACK
        if stage > Stage.TLS and over_tls:
            await visit.start_tls(tls_context(shown, maximum_tls))
        if stage > Stage.HEADERS:
            await visit.send(string(headers))
        if stage >= Stage.VERDICT:
            visit.header_bytes = await visit.read_string()
            visit.headers = json.loads(visit.header_bytes)
        if stage > Stage.VERDICT:
            await visit.send(string("OK"))
            visit.verdict = (await visit.read_string()).decode()
        if stage > Stage.CAPABILITY:
            await visit.send(string(capability))
            visit.capability = (await visit.read_string()).decode()
        await then(visit)

    return script


def accepting(
    *,
    then: Script = stay_silent,
    headers: str | bytes = json.dumps({"JnlpAgentProtocol.cookie": COOKIE}),
    capability: str | bytes = CAPABILITY,
) -> Script:
    """Return a script that accepts everybody; ``then`` owns the channel."""
    return stopping_at(Stage.CHANNEL, then, headers=headers, capability=capability)


def refusing(verdict: str | Callable[[Visit], str]) -> Script:
    """Return a script that refuses with the whole text ``verdict`` and waits for the farewell."""

    async def refuse(visit: Visit) -> None:
        await visit.send(string(verdict if isinstance(verdict, str) else verdict(visit)))
        await visit.read_to_end()

    async def headers_first(visit: Visit) -> None:
        await visit.send(string('{"JnlpAgentProtocol.cookie":"00"}'))
        visit.header_bytes = await visit.read_string()
        visit.headers = json.loads(visit.header_bytes)
        await refuse(visit)

    return stopping_at(Stage.HEADERS, headers_first)


async def answer_ping(visit: Visit) -> None:
    """Answer ``Protocol:Ping`` and close."""
    await visit.send(b"Ping\n")
    visit.fin()
    await visit.read_to_end()


async def answer_root(visit: Visit) -> None:
    """Answer ``GET /`` on the TCP port (B.3) and close."""
    await visit.read_until(b"\r\n\r\n")
    version = visit.controller.version
    lines = "Jenkins-Agent-Protocols: JNLP4-connect, Ping\r\nJenkins-Version: 2.scripted\r\n"
    if version is not None:
        lines += f"Remoting-Minimum-Version: {version}\r\n"
    await visit.send(f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{lines}".encode())
    visit.fin()
    await visit.read_to_end()


async def answer_discovery(visit: Visit) -> None:
    """Answer the discovery document and close."""
    await visit.send(visit.controller.document())
    visit.fin()
    await visit.read_to_end()


class ScriptedController:
    """Two listening ports and what happened at them.

    ``agents``, ``pings``, ``roots`` and ``requests`` are the visits so far; ``connections`` counts
    every connection to the agent port, silent ones included. All scripts and the parts of the
    document may be changed at any time.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        identity: InstanceIdentity | None = None,
        https: ssl.SSLContext | None = None,
        prefix: str = "",
    ) -> None:
        self.script = accepting() if script is None else script
        self.on_ping: Script = answer_ping
        self.on_root: Script = answer_root
        self.on_request: Script = answer_discovery
        self.identity = own_identity() if identity is None else identity
        self.prefix = prefix
        # The document: None leaves a header out.
        self.status = 200
        self.advertised: str | None = self.identity.header
        self.advertised_port: str | None = None
        self.advertised_host: str | None = None
        self.protocols: str | None = "JNLP4-connect, Ping"
        self.version: str | None = MINIMUM_VERSION
        self.port_headers = ("X-Hudson-JNLP-Port", "X-Jenkins-JNLP-Port")
        self.connections = 0
        self.agents: list[Visit] = []
        self.pings: list[Visit] = []
        self.roots: list[Visit] = []
        self.requests: list[Visit] = []
        self.agent_port = 0
        self.http_port = 0
        self._https = https
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        scheme = "http" if self._https is None else "https"
        return f"{scheme}://127.0.0.1:{self.http_port}{self.prefix}/"

    def document(self) -> bytes:
        """Return the discovery document as one HTTP answer."""
        port = str(self.agent_port) if self.advertised_port is None else self.advertised_port
        fields = [(name, port) for name in self.port_headers] if port else []
        fields += [
            (name, value)
            for name, value in (
                ("X-Jenkins-JNLP-Host", self.advertised_host),
                ("X-Instance-Identity", self.advertised),
                ("X-Jenkins-Agent-Protocols", self.protocols),
                ("X-Remoting-Minimum-Version", self.version),
            )
            if value is not None
        ]
        body = b"\n\n  Jenkins\n"
        head = f"HTTP/1.1 {self.status} \r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    async def wait_for_agents(self, count: int = 1) -> Visit:
        """Wait until ``count`` agents' connections have come; return the newest of them."""
        while len(self.agents) < count:
            await self._changed.wait()
        return self.agents[count - 1]

    async def wait_for_requests(self, count: int = 1) -> Visit:
        """Wait until ``count`` HTTP requests have come; return the newest of them."""
        while len(self.requests) < count:
            await self._changed.wait()
        return self.requests[count - 1]

    async def run(
        self,
        *,
        agent_port: int = 0,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve both ports on 127.0.0.1 until cancelled."""
        agents = await trio.open_tcp_listeners(agent_port, host="127.0.0.1")
        requests = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.agent_port = agents[0].socket.getsockname()[1]
        self.http_port = requests[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve_port, agents)
            nursery.start_soon(trio.serve_listeners, self._serve_http, requests)
            task_status.started()

    async def _serve_port(self, stream: trio.SocketStream) -> None:
        visit = Visit(stream, self)
        self.connections += 1
        self._notify()
        try:
            with suppress(Gone):
                await self._speak(visit)
        finally:
            visit.abandon()

    async def _speak(self, visit: Visit) -> None:
        head = await visit.read(4)
        if head == b"GET ":
            self.roots.append(visit)
            await self.on_root(visit)
            return
        size = int.from_bytes(head[:2], "big")
        visit.opening = (head[2:] + await visit.read(size - 2)).decode()
        if visit.opening == "Protocol:Ping":
            self.pings.append(visit)
            await self.on_ping(visit)
            return
        self.agents.append(visit)
        self._notify()
        await self.script(visit)

    async def _serve_http(self, stream: trio.SocketStream) -> None:
        visit = Visit(stream, self)
        try:
            with suppress(Gone):
                if self._https is not None:
                    await visit.start_tls(self._https)
                visit.opening = (await visit.read_until(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(visit)
                self._notify()
                await self.on_request(visit)
        finally:
            visit.abandon()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
