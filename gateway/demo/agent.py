"""A simulated inbound agent: what ``agent.jar -webSocket`` does on the wire, without Java.

Owns: the readiness probe, the upgrade, the cookie, the minimum version, the back-off (PROTOCOLS A,
``hudson.remoting.Engine.runWebSocket``). It never gives up, but for a minimum version it does not
meet: callers bound it with a cancel scope.

Must not know: the gateway; what commands mean. Two small differences from Java: redirects of
``/login`` are reported, not followed, and HTTP proxies are not looked for.

The upgrade is written by hand, since trio-websocket can neither send the headers in Tyrus' order
and case, nor a message as two chosen fragments, nor report the pings it answers.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import h11
import trio

from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import (
    Answer,
    Target,
    exchange,
    is_newer,
    login_request,
    upgrade_request,
)
from gateway.demo.channel import Behaviour, sink
from gateway.demo.stream import ConnectionEnded, Wire
from gateway.demo.wire import DEFAULT_MASK, capability_ascii

REMOTING_VERSION: Final = "3355.v388858a_47b_33"
HANDSHAKE_TIMEOUT: Final = 30.0  # seconds, Tyrus'
LONGEST_DELAY: Final = 10.0  # seconds, ExponentialRetry's
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_NO_ANSWER: Final = (
    ConnectionEnded,
    OSError,
    trio.TooSlowError,
    h11.RemoteProtocolError,
    ValueError,
)


class StepKind(Enum):
    """What an observer of an agent can see happening."""

    PROBE = "probing /login"
    ANSWER = "HTTP answer"
    FAILURE = "no answer"
    UPGRADE = "asking for a WebSocket"
    OPEN = "channel open"
    PING = "ping answered"
    CLOSED = "channel ended"
    WAIT = "waiting"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing an agent did or met; ``text`` is for people and holds no secret."""

    kind: StepKind
    text: str = ""
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """No HTTP answer: refused, reset, TLS failure, timeout, or not HTTP at all."""

    reason: str


@dataclass(frozen=True, slots=True)
class MustStop:
    """The one answer that ends a modern agent: a minimum version above its own (PROTOCOLS A.5)."""

    minimum: str
    answer: Answer


Attempted = AgentChannel | Answer | Failure | MustStop  # what came of one attempt to connect


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates in ``ca_file`` only (``-cert``)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    return context


def trusting_anybody() -> ssl.SSLContext:
    """Return a TLS context that checks nothing (``-noCertificateCheck``)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class SimulatedAgent:
    """One agent and what it remembers between its connections.

    ``url`` is Jenkins' root URL as the agent is given it. ``cookie`` is the remembered one.
    ``fragments`` is how remoting up to 3106 sends messages. ``observe`` is told of every step.
    """

    def __init__(
        self,
        url: str,
        node: str,
        secret: str,
        *,
        tls: ssl.SSLContext | None = None,
        capability: str = capability_ascii(DEFAULT_MASK),
        version: str = REMOTING_VERSION,
        fragments: bool = False,
        extra_headers: Sequence[tuple[str, str]] = (),
        observe: Callable[[Step], None] | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        self.target = Target.parse(url)
        self.node = node
        self.cookie: str | None = None
        self._secret = secret
        self._tls = tls
        self._capability = capability
        self._version = version
        self._fragments = fragments
        self._extra_headers = tuple(extra_headers)
        self._observe = observe
        self._handshake_timeout = handshake_timeout

    async def run(self, behaviour: Behaviour = sink) -> MustStop:
        """Probe, connect, let ``behaviour`` use the channel, and start over when it has ended.

        Returns only when the server asks for a newer agent.
        """
        while True:
            await self._wait_until_ready()
            async with trio.open_nursery() as nursery:
                found = await self._connect_at_last(nursery, behaviour)
                if isinstance(found, MustStop):
                    return found

    async def _wait_until_ready(self) -> None:
        delay = 0.0
        while True:
            answer = await self.login()
            if isinstance(answer, Answer) and answer.status == 200:
                return
            delay = await self._back_off(delay)

    async def _connect_at_last(
        self, nursery: trio.Nursery, behaviour: Behaviour
    ) -> AgentChannel | MustStop:
        delay = 0.0
        while True:
            found = await self.connect(nursery, behaviour)
            if isinstance(found, (AgentChannel, MustStop)):
                return found
            delay = await self._back_off(delay)

    async def _back_off(self, previous: float) -> float:
        delay = min(LONGEST_DELAY, 2 * previous + 1)
        self._tell(StepKind.WAIT, f"{delay:g} s")
        await trio.sleep(delay)
        return delay

    async def login(self) -> Answer | Failure:
        """Ask ``/login`` once: 200 means that the server is ready for this agent."""
        self._tell(StepKind.PROBE, f"GET {self.target.path}login")
        wire: Wire | None = None
        try:
            with trio.fail_after(self._handshake_timeout):
                wire = await self._dial()
                answer = await exchange(wire, login_request(self.target))
                await wire.drop(linger=0)
        except _NO_ANSWER as exc:
            return self._failed(exc)
        finally:
            if wire is not None:
                wire.abandon()
        self._tell(StepKind.ANSWER, f"{answer.status} {answer.reason}".rstrip(), answer)
        return answer

    async def connect(self, nursery: trio.Nursery, behaviour: Behaviour | None = None) -> Attempted:
        """Try the upgrade once. A channel is read, and used by ``behaviour``, in ``nursery``.

        Any HTTP answer but 101 is returned as it came, after it was treated as PROTOCOLS A.5 says:
        ``Connection-Cookie`` remembered, or forgotten when it is absent (redirects excepted).
        """
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = upgrade_request(
            self.target,
            key=key,
            node=self.node,
            secret=self._secret,
            capability=self._capability,
            cookie=self.cookie,
            extra=self._extra_headers,
        )
        self._tell(StepKind.UPGRADE, f"GET {self.target.path}wsagents/ as {self.node}")
        wire: Wire | None = None
        channel: AgentChannel | None = None
        try:
            with trio.fail_after(self._handshake_timeout):
                wire = await self._dial()
                answer = await exchange(wire, request, upgrade=True)
                self._tell(StepKind.ANSWER, f"{answer.status} {answer.reason}".rstrip(), answer)
                if answer.status == 101:
                    _check_accept(answer, key)
                else:
                    await wire.drop(linger=0)
            if not 300 <= answer.status < 400:
                self.cookie = answer.header("Connection-Cookie")
            minimum = answer.header("X-Remoting-Minimum-Version")
            if minimum is not None and is_newer(minimum, self._version):
                return MustStop(minimum, answer)
            if answer.status != 101:
                return answer
            channel = self._open(wire, answer)
        except _NO_ANSWER as exc:
            return self._failed(exc)
        finally:
            if wire is not None and channel is None:
                wire.abandon()
        nursery.start_soon(self._serve, channel, behaviour)
        return channel

    def _open(self, wire: Wire, answer: Answer) -> AgentChannel:
        assumed = capability_ascii(DEFAULT_MASK)  # remoting >= 3131 does, with a warning
        channel = AgentChannel(
            wire,
            node=self.node,
            cookie=self.cookie,
            peer_capability=answer.header("X-Remoting-Capability") or assumed,
            rest=answer.rest,
            fragments=self._fragments,
            on_ping=lambda payload: self._tell(StepKind.PING, payload.hex()),
        )
        self._tell(StepKind.OPEN)
        return channel

    async def _serve(self, channel: AgentChannel, behaviour: Behaviour | None) -> None:
        await channel.run(behaviour)
        how = channel.end.value if channel.end is not None else ""
        code = "" if channel.close_code is None else f" {channel.close_code}"
        self._tell(StepKind.CLOSED, f"{how}{code}")

    async def _dial(self) -> Wire:
        wire = Wire(await trio.open_tcp_stream(self.target.host, self.target.port))
        if self.target.scheme == "http":
            return wire
        context = self._tls if self._tls is not None else ssl.create_default_context()
        try:
            await wire.start_tls(context, server_name=self.target.host)
        except BaseException:
            wire.abandon()
            raise
        return wire

    def _failed(self, exc: BaseException) -> Failure:
        reason = str(exc) or type(exc).__name__
        self._tell(StepKind.FAILURE, reason)
        return Failure(reason)

    def _tell(self, kind: StepKind, text: str = "", answer: Answer | None = None) -> None:
        if self._observe is not None:
            self._observe(Step(kind, text, answer))


def _check_accept(answer: Answer, key: str) -> None:
    """Compare ``Sec-WebSocket-Accept`` with the key (RFC 6455 section 4.1); ValueError if wrong."""
    digest = hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()
    if answer.header("Sec-WebSocket-Accept") != base64.b64encode(digest).decode():
        raise ValueError("the answer's Sec-WebSocket-Accept does not fit the key")
