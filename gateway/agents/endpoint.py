"""``<prefix>/wsagents/``: from an agent's request to its session.

Owns: the order of checks (PROTOCOLS A.3, K.1; ARCHITECTURE section 4 rows 4 to 10) and the one
deadline over them, for both transports. Everything that can be judged from the request alone is
judged before any credential check or dial; then a leg is picked.

Must not know: how the controller leg is opened, how bytes are moved, how errors become statuses.

The whole handshake with the controller is finished *before* 101 is sent: the 101 carries the
controller's capability and cookie, and only before it can a refusal be an honest HTTP status.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from gateway.agents.blocks import Blocks
from gateway.agents.discovery import AgentPort, Discovery
from gateway.agents.history import History
from gateway.agents.identity import Pin, PinStore, remedy
from gateway.agents.jnlp4_leg import ControllerLeg, LegOpener, LegRequest
from gateway.agents.registry import Entry, Registry, Takeover
from gateway.agents.session import AgentSession, SessionInfo
from gateway.agents.session_meters import SessionMeters
from gateway.agents.stopwatch import Stopwatch
from gateway.agents.takeover import Newcomer, Takeovers
from gateway.agents.transport import Transport, Transports
from gateway.agents.websocket_leg import WebSocketLegs
from gateway.config.keys import PublicKey, fingerprint
from gateway.config.models import ControllerConfig, GatewayConfig
from gateway.config.networks import LOOPBACK, is_in
from gateway.credentials.gate import Admission, Credentials
from gateway.credentials.policy import CertificateNames, Granted, Presented
from gateway.errors import (
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
    IdentityMismatch,
    MethodRefused,
    MissingAgentHeaders,
    NotAuthorized,
    RemoteProtocolError,
    UpgradeRefused,
)
from gateway.http.exchange import Exchange
from gateway.http.websocket_relay import RelaySession
from gateway.http.websocket_upgrade import UpgradeAnswer
from gateway.observability.logs import get_logger
from gateway.observability.metrics.error_names import error_name
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import HANDSHAKE_DURATION, HANDSHAKES
from gateway.protocol.capability import check_capability
from gateway.protocol.cookie import is_cookie
from gateway.protocol.jnlp4 import PROTOCOL_PLAINTEXT
from gateway.protocol.ws_handshake import check_upgrade, upgrade_answer
from gateway.runtime.handshakes import Handshakes
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import Limits

_log = get_logger("session")

# Agents before 4.2.1 send no chunk headers and are told to stop (PROTOCOLS J.1).
FIRST_FRAMED_VERSION: Final = "4.2.1"
# Jenkins allows any name that fits a file name; its own agents' secrets have 64 characters.
_MAX_VALUE: Final = 1024
# The gate refuses most of them; HTAB and C1 are legal in a field, but not in a name (PROTOCOLS
# K.5).
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What an agent asked for. Secret and cookie are not part of the repr."""

    node: str
    secret: str = field(repr=False)
    capability: str
    cookie: str | None = field(repr=False)
    accept: bytes


# A leg to the TCP agent port, or what a controller that speaks WebSocket answered.
_Leg = tuple[ControllerLeg, AgentPort] | UpgradeAnswer
# And the node's last takeovers.
_Opened = tuple[_Leg, tuple[Takeover, ...]]


class AgentEndpoint:
    """Serves agents' WebSocket requests of one worker."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        discovery: Discovery,
        transports: Transports,
        pins: PinStore,
        opener: LegOpener,
        handshakes: Handshakes,
        websocket_legs: WebSocketLegs,
        registry: Registry,
        takeovers: Takeovers,
        history: History,
        credentials: Credentials,
        blocks: Blocks,
        generation: int = 0,
        meters: Meters | None = None,
        session_meters: SessionMeters | None = None,
    ) -> None:
        self._meters = Meters() if meters is None else meters
        self._session_meters = SessionMeters() if session_meters is None else session_meters
        self._config = config
        self._discovery = discovery
        self._transports = transports
        self._pins = pins
        self._opener = opener
        self._websocket_legs = websocket_legs
        self._registry = registry
        self._takeovers = takeovers
        self._history = history
        self._generation = generation
        self._credentials = credentials
        self._blocks = blocks
        self._handshakes = handshakes
        keepalive = config.agents.keepalive
        self._limits = Limits(keepalive.interval, keepalive.suspect_after, keepalive.dead_after)

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request to its end, which for an accepted agent is the end of its session.

        Raises the errors of ARCHITECTURE section 6; ``http/connection`` turns them into answers.
        """
        echo_cookie(exchange)
        self._check_transport(exchange)
        request = read_agent_request(exchange)
        admission = self._credentials.admission(_presented(exchange, request))
        try:
            session, entry = await self._open(exchange, request, admission)
        except GatewayError as error:
            self._note_refusal(exchange, request, str(error), error_name(error))
            raise
        if session is None or entry is None:
            reason = f"the controller's answer: {exchange.status}"
            self._note_refusal(exchange, request, reason, "refused_by_controller")
            return
        name = exchange.match.controller_id
        self._meters.count(HANDSHAKES, name, "accepted")
        taken = trio.current_time() - exchange.received_at
        self._meters.observe(HANDSHAKE_DURATION, taken, name)

        def end(error: NotAuthorized) -> None:
            session.end(SessionEnd.of(Side.GATEWAY, error))

        with self._registry.register(session, entry), admission.live(end):
            self._history.opened(entry)
            if isinstance(session, AgentSession):
                await session.run(request.capability)
            else:
                await session.run()

    def _note_refusal(
        self, exchange: Exchange, request: AgentRequest, reason: str, outcome: str
    ) -> None:
        self._meters.count(HANDSHAKES, exchange.match.controller_id, outcome)
        self._history.refused(
            exchange.match.controller_id,
            request.node,
            client=exchange.client_address,
            reason=reason,
        )

    async def _open(
        self, exchange: Exchange, request: AgentRequest, admission: Admission
    ) -> tuple[AgentSession | RelaySession, Entry] | tuple[None, None]:
        """Open a session within the one deadline; none where a refusal was passed on."""
        timeout = self._config.agents.handshake_timeout
        opened: _Opened | None = None
        try:
            with trio.fail_after(timeout):
                async with exchange.cancel_if_client_leaves():
                    opened = await self._open_leg(exchange, request, admission)
                session = await self._start(exchange, request, opened[0])
        except trio.TooSlowError:
            await _give_up(opened)
            raise ControllerTimeout(detail=f"no session within {timeout:g} s") from None
        except BaseException:
            await _give_up(opened)
            raise
        if session is None:
            return None, None
        return session, Entry(
            session,
            exchange.request_id,
            exchange.match.controller_id,
            request.node,
            exchange.client_address,
            time.time(),
            _cookie_of(opened[0]),
            opened[1],
        )

    async def _start(
        self, exchange: Exchange, request: AgentRequest, opened: _Leg
    ) -> AgentSession | RelaySession | None:
        """Send 101 and return the session; None where a controller's refusal was passed on."""
        if isinstance(opened, UpgradeAnswer):
            return await self._websocket_legs.start(exchange, opened, request.node)
        leg, port = opened
        agent, leading = await exchange.upgrade(_answer(request, leg, port))
        info = SessionInfo(
            exchange.request_id,
            exchange.match.controller_id,
            request.node,
            exchange.client_address,
            exchange.match.controller.agents.chunks_per_message,
            self._generation,
            None if exchange.trace is None else exchange.trace.trace_id,
        )
        return AgentSession(
            info,
            agent=agent,
            leading=leading,
            leg=leg,
            limits=self._limits,
            on_end=self._history.ended,
            on_round_trip=self._session_meters.round_trips(info.controller),
        )

    def _check_transport(self, exchange: Exchange) -> None:
        """Refuse secrets in clear text, except from where TLS ends in front of us."""
        if exchange.listener.tls is not None or exchange.listener.plain_agents:
            return
        host = exchange.peer.host
        if is_in(LOOPBACK, host) or is_in(self._config.trusted_proxies, host):
            return
        raise RemoteProtocolError("use https")

    async def _open_leg(
        self, exchange: Exchange, request: AgentRequest, admission: Admission
    ) -> _Opened:
        name = exchange.match.controller_id
        self._blocks.check(name, request.node)
        watch = Stopwatch(self._meters, name)
        granted = await admission.judge()
        watch.lap("credentials")
        newcomer = Newcomer(
            name,
            request.node,
            exchange.client_address,
            exchange.match.controller.agents.takeover,
            request.cookie,
            granted.proved,
        )

        async def dial(cookie: str | None, remembered: str | None) -> _Leg:
            watch.restart()
            return await self._dial(
                exchange, request, admission, granted, cookie, remembered, watch
            )

        return await self._takeovers.open(newcomer, dial)

    async def _dial(
        self,
        exchange: Exchange,
        request: AgentRequest,
        admission: Admission,
        granted: Granted,
        cookie: str | None,
        remembered: str | None,
        watch: Stopwatch,
    ) -> _Leg:
        name = exchange.match.controller_id
        controller = exchange.match.controller
        async with self._handshakes.of(name).place(exchange.client_address):
            watch.lap("queue")
            choice = await self._transports.choose(name, controller)
            if choice.transport is Transport.WEBSOCKET:
                watch.lap("discovery")
                answer = await self._websocket_legs.ask(
                    exchange, request.node, granted.upstream_secret, cookie
                )
                watch.lap("upgrade")
                if answer.head.status == 403:
                    admission.refused()
                return answer
            port = await self._discovery.agent_port(name, controller)
            watch.lap("discovery")
            leg_request = LegRequest(
                port.address,
                controller.agents.protocol,
                self._expected_identity(name, controller, port),
                request.node,
                granted.upstream_secret,
                # Of a session by JNLP4: by WebSocket its agent may have it still.
                cookie if remembered is None else remembered,
            )
            try:
                return await self._opener.open(leg_request, lap=watch.lap), port
            except NotAuthorized:
                admission.refused()
                raise
            except (ControllerUnreachable, ControllerTimeout):
                self._transports.forget(name)
                raise
            except IdentityMismatch as error:
                _log.error(
                    "controller shows another key than the expected one; no secret was sent",
                    controller=name,
                    address=str(port.address),
                    expected=fingerprint(leg_request.identity),
                    reason=str(error),
                    remedy=f"if that is intended: {remedy(name)}",
                )
                self._transports.forget(name)
                raise

    def _expected_identity(self, name: str, controller: ControllerConfig, port: AgentPort) -> bytes:
        """Return the key that the controller must show. Raises IdentityMismatch if nobody vouches
        for one.
        """
        agents = controller.agents
        if agents.protocol == PROTOCOL_PLAINTEXT:
            return b""
        if isinstance(agents.identity, PublicKey):
            return agents.identity.der
        if port.verified:
            if port.identity is None:
                raise IdentityMismatch(detail="the discovery document names no identity")
            return port.identity
        pin = self._pins.get(name)
        if pin is None:
            if port.identity is None:
                raise IdentityMismatch(detail="the discovery document names no identity")
            pin = self._pins.pin_first(name, Pin(port.identity, "first discovery over http"))
            _log.warning(
                "pinned the controller's key, first seen over http; compare its fingerprint",
                controller=name,
                fingerprint=fingerprint(pin.key),
            )
        elif port.identity is not None and port.identity != pin.key:
            _log.warning(
                "the discovery document names another key than the pinned one; the pin holds",
                controller=name,
                pinned=fingerprint(pin.key),
                discovered=fingerprint(port.identity),
            )
        return pin.key


def read_agent_request(exchange: Exchange) -> AgentRequest:
    """Check what the request alone can show: A.3 rows 1, 5, 7, 8 and 9, in this order.

    Raises MissingAgentHeaders, RemoteProtocolError, UpgradeRefused or MethodRefused.
    """
    request = exchange.request
    if request.method != b"GET":
        raise MethodRefused(detail=request.method.decode("ascii"), allowed="GET")
    headers = request.headers
    values = [headers.get(name) for name in (b"node-name", b"secret-key", b"x-remoting-capability")]
    node, secret, capability = values
    if node is None or secret is None or capability is None:
        raise MissingAgentHeaders
    cookie = headers.get(b"connection-cookie")
    if cookie is not None and not is_cookie(cookie):
        raise RemoteProtocolError("Connection-Cookie is not hexadecimal")
    text = check_capability(capability.decode("latin-1"))
    try:
        accept = check_upgrade(request)
    except UpgradeRefused:
        # RFC 6455 section 4.4: a server names the version that it speaks.
        exchange.error_headers.append((b"Sec-WebSocket-Version", b"13"))
        raise
    if request.has_body:
        raise UpgradeRefused("an upgrade request must not have a body")
    for name in (b"node-name", b"secret-key", b"x-remoting-capability", b"connection-cookie"):
        if len(headers.get_all(name)) > 1:
            raise RemoteProtocolError(f"{name.decode()} is given twice")
    if len(node) > _MAX_VALUE or len(secret) > _MAX_VALUE:
        raise RemoteProtocolError("Node-Name or Secret-Key is longer than 1 KiB")
    node_text, secret_text = node.decode("latin-1"), secret.decode("latin-1")
    if _CONTROL.search(node_text) or _CONTROL.search(secret_text):
        raise RemoteProtocolError("Node-Name or Secret-Key holds a control character")
    return AgentRequest(
        node_text,
        secret_text,
        text,
        None if cookie is None else cookie.decode("ascii"),
        accept,
    )


def _presented(exchange: Exchange, request: AgentRequest) -> Presented:
    tls = exchange.stream.tls
    names = None
    if tls is not None and tls.subject is not None:
        names = CertificateNames(tls.common_names, tls.alternative_names)
    return Presented(
        exchange.match.controller_id,
        request.node,
        request.secret,
        exchange.client_address,
        names,
    )


def echo_cookie(exchange: Exchange) -> None:
    """See that every answer but 101 carries a well-formed cookie back, or the agent forgets it
    (A.5).
    """
    cookie = exchange.request.headers.get(b"connection-cookie")
    if cookie is not None and is_cookie(cookie):
        exchange.error_headers.append((b"Connection-Cookie", cookie))


def _answer(
    request: AgentRequest, leg: ControllerLeg, port: AgentPort
) -> list[tuple[bytes, bytes]]:
    headers = upgrade_answer(request.accept)
    headers.append((b"X-Remoting-Capability", leg.capability.encode("ascii")))
    version = newer(port.minimum_version, FIRST_FRAMED_VERSION)
    headers.append((b"X-Remoting-Minimum-Version", version.encode("ascii")))
    if leg.cookie is not None:
        headers.append((b"Connection-Cookie", leg.cookie.encode("ascii")))
    return headers


def newer(version: str | None, other: str) -> str:
    """Return the newer of two remoting versions; None and what cannot be read are older than
    anything.

    Dotted components are compared as numbers; ``3176.v207ec082a_8c0`` sorts by its first (PROTOCOLS
    L).
    """
    if version is None or _numbers(version) < _numbers(other):
        return other
    return version


def _numbers(version: str) -> list[int]:
    numbers = []
    for part in version.split("."):
        if not (part.isascii() and part.isdigit() and len(part) <= 9):
            break
        numbers.append(int(part))
    return numbers


async def _give_up(opened: _Opened | None) -> None:
    """Close a leg that no agent will use in order, so that the controller frees the node."""
    if opened is None:
        return
    leg = opened[0]
    if isinstance(leg, UpgradeAnswer):
        await leg.connection.take_stream()[0].aclose()
    else:
        await leg[0].stream.aclose()


def _cookie_of(leg: _Leg) -> str | None:
    """Return the cookie that the agent has got."""
    if not isinstance(leg, UpgradeAnswer):
        return leg[0].cookie
    cookie = leg.head.headers.get(b"connection-cookie")
    return cookie.decode("ascii") if cookie is not None and is_cookie(cookie) else None
