"""What is known about a controller's TCP agent port: where it is, whose it is, who may use it, and
whether it is alive.

Owns: the discovery document (PROTOCOLS B.1), the answer of the TCP port to ``GET /`` (B.3), the
probe ``Protocol:Ping``, and one cache for all of it, so that a storm of agents asks a controller
once.

Must not know: agents, sessions, secrets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import trio

from gateway.config.keys import PublicKey
from gateway.config.models import ControllerConfig
from gateway.config.values import Address, parse_host
from gateway.errors import (
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
)
from gateway.http.upstream import Fetch
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.jnlp4 import PROTOCOL_PLAINTEXT
from gateway.transport.dial import dial
from gateway.transport.stream import StreamBroken

DISCOVERY_TIMEOUT: Final = 5.0
PROBE_TIMEOUT: Final = 5.0
# A document that worked is good for this long; a dial that fails throws it away at once.
DISCOVERY_TTL: Final = 60.0
# How stale "ready" may be: agents back off by 1, 3, 7, 10 s.
READY_TTL: Final = 2.0
# A failure is remembered just long enough that waiting agents share it.
FAILURE_TTL: Final = 1.0
_MAX_PORT_ANSWER: Final = 4096
_PATH: Final = "/tcpSlaveAgentListener/"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentPort:
    """A controller's TCP agent port.

    ``identity`` is the DER SubjectPublicKeyInfo that the document names, or None; ``verified`` says
    that the document came over TLS with a checked certificate. ``minimum_version`` is what the
    controller said.
    """

    address: Address
    identity: bytes | None
    verified: bool
    minimum_version: str | None


class Discovery:
    """Ask controllers about their agent ports, and remember the answers."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._ports = AnswerCache[AgentPort](self._discover, ttl=DISCOVERY_TTL)
        self._ready = AnswerCache[None](self._probe, ttl=READY_TTL)

    async def agent_port(self, name: str, controller: ControllerConfig) -> AgentPort:
        """Return the agent port of ``controller``.

        Raises ControllerUnreachable or ControllerTimeout, both with the reason for agents.
        """
        return await self._ports.get(name, controller)

    async def check_ready(self, name: str, controller: ControllerConfig) -> None:
        """Return if ``controller`` is ready for agents, or raise why it is not."""
        await self._ready.get(name, controller)

    def forget(self, name: str) -> None:
        """Forget what is known about ``name``: a dial has just failed."""
        self._ports.forget(name)
        self._ready.forget(name)

    def known(self, name: str) -> AgentPort | GatewayError | None:
        """Return what is known about the agent port, without asking anybody."""
        return self._ports.known(name)

    def keep(self, names: Collection[str]) -> None:
        """Forget all controllers but these."""
        self._ports.keep(names)
        self._ready.keep(names)

    # -- the document ------------------------------------------------------------------------------

    async def _discover(self, name: str, controller: ControllerConfig) -> AgentPort:
        agents = controller.agents
        if controller.url is None:
            assert agents.address is not None  # the configuration demands it
            return AgentPort(agents.address, None, False, await _version_at(agents.address))
        try:
            head = await self._document(name, controller)
            return _read_document(controller, head)
        except GatewayError:
            if agents.address is None or agents.identity == "discover":
                raise
            # Everything that matters is configured; the document would only add the minimum
            # version.
            return AgentPort(agents.address, None, False, None)

    async def _document(self, name: str, controller: ControllerConfig) -> ResponseHead:
        assert controller.url is not None
        try:
            head, _ = await self._fetch(
                name, controller, controller.url.prefix + _PATH, timeout=DISCOVERY_TIMEOUT
            )
        except ControllerUnreachable as error:
            raise _unusable(error.detail) from None
        if head.status == 404:
            raise _unusable("its TCP agent port is disabled, or the URL is wrong (404)")
        if head.status != 200:
            raise _unusable(f"discovery answered {head.status}")
        return head

    # -- readiness ---------------------------------------------------------------------------------

    async def _probe(self, name: str, controller: ControllerConfig) -> None:
        port = await self.agent_port(name, controller)
        try:
            answer = await _ask(port.address, b"\x00\x0dProtocol:Ping", until=b"\n")
            # Core before 1.653 knows no Ping, and says so: alive all the same.
            if not answer.startswith((b"Ping", b"Unknown protocol")):
                raise _unusable("its agent port does not answer Protocol:Ping")
        except GatewayError:
            self._ports.forget(name)  # the port may have moved
            raise


def _read_document(controller: ControllerConfig, head: ResponseHead) -> AgentPort:
    assert controller.url is not None
    agents = controller.agents
    offered = _text(head, b"x-jenkins-agent-protocols")
    if offered.strip() and agents.protocol != PROTOCOL_PLAINTEXT:
        names = {name.strip() for name in offered.split(",")}
        if agents.protocol not in names:
            raise _unusable(f"it does not offer {agents.protocol}")
    address = agents.address
    if address is None:
        raw = _text(head, b"x-jenkins-jnlp-port") or _text(head, b"x-hudson-jnlp-port")
        if not (raw.isascii() and raw.isdigit() and len(raw) <= 5 and 0 < int(raw) < 65536):
            raise _unusable("its discovery document names no agent port")
        address = Address(_host(head) or controller.url.host, int(raw))
    return AgentPort(
        address,
        _key(_text(head, b"x-instance-identity")),
        controller.url.scheme == "https",
        _version(_text(head, b"x-remoting-minimum-version")),
    )


def _text(head: ResponseHead, name: bytes) -> str:
    return (head.headers.get(name) or b"").decode("latin-1")


def _host(head: ResponseHead) -> str:
    """Return the host that is stated, or ``""``. Raises ControllerUnreachable for no host name."""
    host = _text(head, b"x-jenkins-jnlp-host").removeprefix("[").removesuffix("]")
    try:
        if host:
            parse_host(host.removesuffix("."))
    except ValueError:
        raise _unusable("its discovery document names no usable host") from None
    return host


def _key(text: str) -> bytes | None:
    """Return the key that is stated; None for what is none and could never be shown."""
    try:
        return PublicKey.parse(text).der
    except ValueError:
        return None


def _version(text: str) -> str | None:
    """Return a version that may stand in a header of ours, or None."""
    text = text.strip()
    fits = 0 < len(text) <= 64 and text.isascii() and text.isprintable() and " " not in text
    return text if fits else None


async def _version_at(address: Address) -> str | None:
    """Ask the TCP port itself for the minimum version (PROTOCOLS B.3); None if it does not say.

    That nothing listens is not this question's to report: opening the leg finds out.
    """
    try:
        answer = await _ask(address, b"GET / HTTP/1.0\r\n\r\n", until=None)
    except (ControllerUnreachable, ControllerTimeout):
        return None
    for line in answer.splitlines():
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == b"remoting-minimum-version":
            return _version(value.decode("latin-1"))
    return None


async def _ask(address: Address, question: bytes, *, until: bytes | None) -> bytes:
    """Send ``question`` to an agent port; return what it says up to ``until`` or its EOF (at most 4
    KiB).
    """
    answer = b""
    try:
        with trio.fail_after(PROBE_TIMEOUT):
            stream = await dial(address, timeout=PROBE_TIMEOUT)
            try:
                await stream.send_all(question)
                while len(answer) < _MAX_PORT_ANSWER and (until is None or until not in answer):
                    data = await stream.receive_some()
                    if not data:
                        break
                    answer += data
            except StreamBroken:
                pass  # a reset after the answer is as good as an EOF
            finally:
                stream.abort()
    except trio.TooSlowError:
        raise ControllerTimeout(detail=f"{address} said nothing for {PROBE_TIMEOUT:g} s") from None
    except ControllerUnreachable as error:
        raise _unusable(error.detail) from None
    return answer


def _unusable(detail: str) -> ControllerUnreachable:
    return ControllerUnreachable(
        "the controller is not ready for agents", detail=detail, for_agents=True
    )


class AnswerCache(Generic[T]):
    """Remember answers and, shortly, failures; ask once for all who wait."""

    def __init__(
        self,
        ask: Callable[[str, ControllerConfig], Awaitable[T]],
        *,
        ttl: float | Callable[[T], float],
    ) -> None:
        """``ttl``: for how many seconds an answer holds, or what says it of each."""
        self._ask = ask
        self._ttl = ttl
        self._known: dict[str, _Entry[T]] = {}
        self._asking: dict[str, trio.Lock] = {}

    async def get(self, name: str, controller: ControllerConfig) -> T:
        async with self._asking.setdefault(name, trio.Lock()):
            entry = self._known.get(name)
            if entry is not None and entry.controller != controller:
                entry = None  # a reload gave the name to another one, or other addresses to it
            if entry is None or trio.current_time() >= entry.asked_at + entry.ttl:
                entry = self._known[name] = await self._renew(name, controller)
        if isinstance(entry.answer, GatewayError):
            # One object, raised for many: no growing traceback.
            raise entry.answer.with_traceback(None)
        return entry.answer

    async def _renew(self, name: str, controller: ControllerConfig) -> _Entry[T]:
        try:
            answer = await self._ask(name, controller)
        except GatewayError as error:
            return _Entry(controller, trio.current_time(), FAILURE_TTL, error)
        ttl = self._ttl(answer) if callable(self._ttl) else self._ttl
        return _Entry(controller, trio.current_time(), ttl, answer)

    def known(self, name: str) -> T | GatewayError | None:
        """Return the last answer or failure, however old, without asking anybody."""
        entry = self._known.get(name)
        return None if entry is None else entry.answer

    def keep(self, names: Collection[str]) -> None:
        """Drop what is known about others; who is asking about them goes on."""
        for gone in self._asking.keys() - set(names):
            self._known.pop(gone, None)
            if not self._asking[gone].locked():
                del self._asking[gone]

    def forget(self, name: str) -> None:
        """Have it asked for anew, but at most once in FAILURE_TTL, however often this is called."""
        entry = self._known.get(name)
        if entry is not None:
            self._known[name] = replace(entry, ttl=min(entry.ttl, FAILURE_TTL))


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    """An answer, or why there is none, and for how many seconds it may be given."""

    controller: ControllerConfig
    asked_at: float
    ttl: float
    answer: T | GatewayError
