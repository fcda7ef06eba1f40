"""A stand-in for a Jenkins controller: discovery over HTTP, the TCP agent port, nodes and secrets.

Owns: the two ports, the nodes' inventory and secrets, which channel is live for which node, and a
record of every connection to the TCP agent port.

Must not know: the gateway. Written from PROTOCOLS B, C, G.1 and the recordings of Java's
``TcpSlaveAgentListener``, ``JnlpSlaveAgentProtocol4`` and ``DefaultJnlpSlaveReceiver``. The
handshake itself is in ``gateway.demo.jnlp4_server``, the HTTP port in
``gateway.demo.controller_http``.

    controller = StandInController({"linux-1": INBOUND, "builtin": NOT_INBOUND})
    await nursery.start(controller.run)
    ... controller.url, controller.agent_address, controller.secret("linux-1") ...
    channel = await controller.wait_for_channel("linux-1")
"""

from __future__ import annotations

import secrets
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from gateway.demo.channel import Behaviour, StandInChannel
from gateway.demo.controller_http import Site, serve_http
from gateway.demo.faults import Faults, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.demo.jnlp4_server import Attempt, Timings, accept, reach
from gateway.demo.stream import ConnectionEnded, End, Wire
from gateway.demo.wire import (
    COOKIE_KEY,
    DEFAULT_MASK,
    JNLP4_CONNECT,
    JNLP4_PLAINTEXT,
    WireError,
    capability_ascii,
    node_secret,
    read_utf,
)

INBOUND: Final = True
NOT_INBOUND: Final = False
MINIMUM_VERSION: Final = "3107.v665000b_51092"  # what the recorded controller asked for
_FIRST_BYTES: Final = 10  # read before the port decides what it is spoken to in
_KEPT_ATTEMPTS: Final = 1000


class StandInController:
    """A controller with throw-away secrets. Every part may be replaced or watched by tests.

    ``channels``: live channel per node. ``attempts``: what became of each connection to the agent
    port, ``requests``: method and target of each HTTP request, newest last. ``nodes``, ``faults``
    and ``advertise_agent_port`` may be changed at any time.
    """

    def __init__(
        self,
        nodes: Mapping[str, bool],
        *,
        identity: InstanceIdentity | None = None,
        secret_key: bytes | None = None,
        on_channel: Behaviour | None = None,
        faults: Faults | None = None,
        timings: Timings | None = None,
        protocols: Sequence[str] = (JNLP4_CONNECT,),
        prefix: str = "",
        advertise_agent_port: bool = True,
        advertised_host: str | None = None,
        minimum_version: str | None = MINIMUM_VERSION,
        cookie_key: str = COOKIE_KEY,
        capability: str = capability_ascii(DEFAULT_MASK),
        maximum_tls: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        https: ssl.SSLContext | None = None,
    ) -> None:
        self.nodes = dict(nodes)
        self.identity = identity if identity is not None else InstanceIdentity()
        self._secret_key = secret_key if secret_key is not None else secrets.token_bytes(32)
        self.faults = faults if faults is not None else Faults()
        self.timings = timings if timings is not None else Timings()
        self.protocols = tuple(protocols)
        self.prefix = prefix.rstrip("/")
        self.advertise_agent_port = advertise_agent_port
        self.advertised_host = advertised_host
        self.minimum_version = minimum_version
        self.cookie_key = cookie_key
        self.capability = capability
        self.maximum_tls = maximum_tls
        self.session_id = secrets.token_hex(4)
        self.channels: dict[str, StandInChannel] = {}
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT_ATTEMPTS)
        self.requests: deque[str] = deque(maxlen=_KEPT_ATTEMPTS)
        self._https = https
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        self._on_channel = on_channel
        self._changed = trio.Event()
        self._agent_address: tuple[str, int] | None = None
        self._http_address: tuple[str, int] | None = None

    @property
    def agent_address(self) -> tuple[str, int]:
        """Return host and port of the TCP agent port; RuntimeError before ``run`` has started."""
        return _started(self._agent_address)

    @property
    def http_address(self) -> tuple[str, int]:
        """Return host and port of the HTTP port; RuntimeError before ``run`` has started."""
        return _started(self._http_address)

    @property
    def url(self) -> str:
        """Return the controller's root URL, with its prefix and a slash at the end."""
        host, port = self.http_address
        shown = f"[{host}]" if ":" in host else host
        return f"{'http' if self._https is None else 'https'}://{shown}:{port}{self.prefix}/"

    def secret(self, node: str) -> str:
        """Return a node's secret, 64 hex characters; unknown nodes have one too (PROTOCOLS G.1)."""
        return node_secret(self._secret_key, node)

    async def wait_for_channel(self, node: str) -> StandInChannel:
        """Return the node's live channel, waiting until there is one."""
        while True:
            live = self.channels.get(node)
            if live is not None and live.end is None:
                return live
            await self._changed.wait()

    async def wait_for_no_channel(self, node: str) -> None:
        """Wait until the node has no live channel."""
        while node in self.channels:
            await self._changed.wait()

    async def run(
        self,
        *,
        host: str = "127.0.0.1",
        agent_port: int = 0,
        http_port: int = 0,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve both ports until cancelled; then every connection ends with a bare EOF.

        Give the ports of an earlier run to come back under the same addresses.
        """
        agents = await trio.open_tcp_listeners(agent_port, host=host)
        requests = await trio.open_tcp_listeners(http_port, host=host)
        self._agent_address = agents[0].socket.getsockname()[:2]
        self._http_address = requests[0].socket.getsockname()[:2]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve_agent, agents)
            await nursery.start(trio.serve_listeners, self._serve_http, requests)
            task_status.started()

    async def _serve_http(self, stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        site = Site(self, self.agent_address[1])
        try:
            if self._https is not None:
                await wire.start_tls(self._https, server_side=True)
            await serve_http(wire, site)
        except ConnectionEnded:
            pass
        finally:
            wire.abandon()

    async def _serve_agent(self, stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        attempt = Attempt(wire.peer_host, wire.peer_port)
        self.attempts.append(attempt)
        try:
            try:
                await self._dispatch(wire, attempt)
            except ConnectionEnded as exc:
                attempt.end, attempt.detail = exc.end, str(exc)
            except WireError as exc:
                attempt.end, attempt.detail = End.VIOLATION, str(exc)
            finally:
                attempt.received = wire.received
            await wire.drop(linger=self.timings.linger)
        finally:
            wire.abandon()
            attempt.finished.set()

    async def _dispatch(self, wire: Wire, attempt: Attempt) -> None:
        """Find out what the port is spoken to in (PROTOCOLS B.3) and answer."""
        await reach(self, wire, attempt, Stage.ACCEPT)
        head = await wire.read_exactly(_FIRST_BYTES)
        if head.startswith(b"GET "):
            await reach(self, wire, attempt, Stage.ROOT, self._plain_answer(head, wire))
            return
        size = int.from_bytes(head[:2])
        rest = await wire.read_exactly(max(0, size - len(head) + 2))
        text = read_utf((head[2:] + rest)[:size])
        protocol = text.removeprefix("Protocol:")
        attempt.protocol = protocol
        if protocol == text:
            await wire.send(f"Unrecognized protocol: {text}\n".encode())
        elif protocol == "Ping":
            await reach(self, wire, attempt, Stage.PING, b"Ping\n")
        elif protocol in self.protocols and protocol in (JNLP4_CONNECT, JNLP4_PLAINTEXT):
            await self._handshake(wire, attempt)
        else:
            await wire.send(b"Unknown protocol:\n")

    def _plain_answer(self, head: bytes, wire: Wire) -> bytes:
        if not head.startswith(b"GET / "):
            return b"HTTP/1.0 404 Not Found\nContent-Type: text/plain;charset=UTF-8\n\nNot Found\n"
        lines = [
            f"Jenkins-Agent-Protocols: {', '.join((*self.protocols, 'Ping'))}",
            "Jenkins-Version: 2.stand-in",
            f"Jenkins-Session: {self.session_id}",
            f"Client: {wire.peer_host}",
            f"Server: {self.agent_address[0]}",
        ]
        if self.minimum_version is not None:
            lines.append(f"Remoting-Minimum-Version: {self.minimum_version}")
        head_lines = (
            "HTTP/1.0 200 OK",
            "Content-Type: text/plain;charset=UTF-8",
            "X-Content-Type-Options: nosniff",
            "",
        )
        return "".join(f"{line}\r\n" for line in (*head_lines, *lines)).encode()

    async def _handshake(self, wire: Wire, attempt: Attempt) -> None:
        over_tls = attempt.protocol == JNLP4_CONNECT
        channel = await accept(self, wire, attempt, over_tls=over_tls)
        if channel is None:
            return
        live = self.channels.get(channel.node)
        if live is not None and live.end is None:
            raise WireError("two handshakes were approved, and the other one was first")
        self.channels[channel.node] = channel
        self._notify()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run, self._on_channel)
                await channel.ended.wait()
                self._forget(channel)
        finally:
            self._forget(channel)
            attempt.end = channel.end

    def tls_context(self, presented: InstanceIdentity | None) -> ssl.SSLContext:
        """Return a server context with the certificate of ``presented``, of the own key if None."""
        identity = self.identity if presented is None else presented
        key = identity.public_key
        if key not in self._contexts:
            self._contexts[key] = identity.server_context(maximum=self.maximum_tls)
        return self._contexts[key]

    def _forget(self, channel: StandInChannel) -> None:
        if self.channels.get(channel.node) is channel:
            del self.channels[channel.node]
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _started(address: tuple[str, int] | None) -> tuple[str, int]:
    if address is None:
        raise RuntimeError("the controller is not running yet")
    return address
