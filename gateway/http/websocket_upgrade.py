"""Asking a controller for a WebSocket, and passing its answer on.

Owns: the request upstream (fields as for any request, with the upgrade put back), the wait for the
answer, 101 or refusal as it came, and whose upgrades these are: everything but agents'
(``/cli/ws``, ``/wsecho/``, plugins' own), where the route allows it.

Must not know: agents' sessions (they use the same two steps), frames (``websocket_relay``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import (
    ControllerTimeout,
    ControllerUnreachable,
    LimitExceeded,
    NotImplementedHere,
    UpgradeRefused,
)
from gateway.http.controller_connection import UNUSABLE, ControllerConnection
from gateway.http.exchange import Exchange
from gateway.http.forwarding import request_headers, response_fields, trailer_fields
from gateway.http.introduction import proxy_header
from gateway.http.upstream import Upstream
from gateway.http.websocket_relay import LiveSessions, RelayLimits, RelaySession
from gateway.http.websocket_way import Leg
from gateway.observability.target import redact_path
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.ws_handshake import accept_value, check_upgrade
from gateway.protocol.ws_relay import FrameScanner
from gateway.runtime.session_end import Side

_VERSION: Final[Field] = (b"Sec-WebSocket-Version", b"13")


@dataclass(frozen=True, slots=True)
class UpgradeAnswer:
    """What the controller said, and the connection on which it did. Close it, or take its stream.

    ``head`` is the final one: 101, or a refusal whose body may follow; ``beginning`` is what has
    been read of that.
    """

    head: ResponseHead
    connection: ControllerConnection
    beginning: bytes = b""

    @property
    def accepted(self) -> bool:
        """Say whether it is a WebSocket now."""
        return self.head.status == 101


def check_request(exchange: Exchange) -> None:
    """Check that the request asks for a WebSocket, and for nothing else.

    Raises NotImplementedHere (501) for other protocols, UpgradeRefused (400) for what is malformed.
    """
    request = exchange.request
    if request.headers.elements(b"upgrade") != [b"websocket"]:
        raise NotImplementedHere("upgrades are only to WebSocket here")
    if request.method != b"GET":
        raise UpgradeRefused(detail="not a GET")
    try:
        check_upgrade(request)
    except UpgradeRefused:
        # RFC 6455 section 4.4: a server names the version that it speaks.
        exchange.error_headers.append(_VERSION)
        raise
    if request.has_body:
        raise UpgradeRefused("an upgrade request must not have a body")


def check_route(exchange: Exchange) -> None:
    """Raise UpgradeRefused where the route has no WebSockets."""
    route = exchange.match.route
    if not route.websockets:
        raise UpgradeRefused(
            "this route has no WebSockets", detail=f"websockets of route {route.id}"
        )


def upgrade_request(
    exchange: Exchange,
    *,
    agent_fields: bool,
    replaced: Iterable[Field] = (),
    dropped: Iterable[bytes] = (),
) -> RequestHead:
    """Return the head that goes to the controller; ``replaced`` fields take others' places, and
    those of the ``dropped`` names (in lower case) do not travel on.

    Raises RemoteProtocolError for a request that must not be forwarded.
    """
    request = exchange.request
    headers = request_headers(
        request,
        exchange.provenance,
        request_id=exchange.request_id,
        agent_fields=agent_fields,
        trace=exchange.trace,
    )
    headers = headers.without(dropped).with_(*replaced)
    headers = Headers([*headers, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")])
    return RequestHead(b"GET", exchange.match.inside(request.target), b"1.1", headers)


async def ask(
    exchange: Exchange, upstream: Upstream, head: RequestHead, *, until: float
) -> UpgradeAnswer:
    """Send ``head`` on a connection of its own; return the answer, if it comes ``until`` then.

    Raises ControllerUnreachable, ControllerTimeout: both count against the address that was asked.
    The caller sees to it that the client's leaving cancels this, which counts against nobody.
    """
    exchange.upstream_began()
    left = max(0.0, until - trio.current_time())
    late = ControllerTimeout(detail=f"no answer to the upgrade in {left:.3g} s")
    greeting = proxy_header(exchange) if upstream.introduces else None
    with trio.move_on_at(until) as connecting:
        connection, address = await upstream.connect_apart(greeting)
    if connecting.cancelled_caught:
        raise late
    try:
        with trio.move_on_at(until) as asking:
            answer = await _final_head(connection, head)
        if asking.cancelled_caught:
            raise late
    except (ControllerUnreachable, ControllerTimeout):
        upstream.failed(address)
        connection.close()
        raise
    except BaseException:
        connection.close()
        raise
    upstream.answered(address)
    return UpgradeAnswer(answer, connection)


async def _final_head(connection: ControllerConnection, head: RequestHead) -> ResponseHead:
    await connection.send_request(head, ended=True)
    answer = await connection.receive_head()
    while answer.status < 200 and answer.status != 101:
        answer = await connection.receive_head()
    if answer.status == 101:
        key = head.headers.get(b"sec-websocket-key") or b""
        # Whoever says 101 without having understood what was asked is not at the other end of a
        # WebSocket, and what follows would not be frames.
        if answer.headers.get_all(b"sec-websocket-accept") != [accept_value(key)]:
            raise ControllerUnreachable(UNUSABLE, detail="its 101 is not for this WebSocket")
    return answer


async def accept(exchange: Exchange, answer: UpgradeAnswer, side: Side) -> tuple[Leg, Leg]:
    """Pass 101 on exactly; return the client's leg and the controller's.

    Raises what ``Exchange.upgrade`` does; the controller's connection is closed then.
    """
    head = answer.head
    try:
        client, early = await exchange.upgrade(head.headers, head.reason)
    except BaseException:
        answer.connection.close()
        raise
    controller, leading = answer.connection.take_stream()
    return Leg(side, client, early), Leg(Side.CONTROLLER, controller, leading)


async def refuse(exchange: Exchange, answer: UpgradeAnswer, fields: Iterable[Field]) -> None:
    """Pass a refusal on: status, ``fields``, body; then close the connection.

    Raises as ``Proxy.forward`` does for an answer that breaks off. The caller has a deadline.
    """
    head, connection = answer.head, answer.connection
    try:
        async with exchange.cancel_if_client_leaves():
            exchange.queue_head(head.status, head.reason, fields, length=head.content_length)
            data = answer.beginning + connection.body_at_hand()
            while True:
                if data:
                    exchange.queue_body(data)
                if connection.received_all:
                    exchange.queue_end(trailer_fields(head, connection.trailers))
                    break
                await exchange.flush()
                data = await connection.receive_body()
        await exchange.flush()
    finally:
        connection.close()


class OpenWebSockets:
    """How many WebSockets each controller has, those of earlier configurations included."""

    def __init__(self, workers: int) -> None:
        """Of ``workers`` each has its part of the limit, rounded up."""
        self._workers = workers
        self._open: Counter[str] = Counter()

    def of(self, controller: str) -> int:
        """Return how many ``controller`` has."""
        return self._open[controller]

    @contextmanager
    def place(self, controller: str, limit: int) -> Iterator[None]:
        """Hold a place for one of ``controller``. Raises LimitExceeded."""
        share = -(-limit // self._workers)
        if self._open[controller] >= share:
            raise LimitExceeded(
                detail=f"{share} WebSockets are open (controllers.{controller}"
                ".connections.websockets, divided by the workers)"
            )
        self._open[controller] += 1
        try:
            yield
        finally:
            self._open[controller] -= 1
            if not self._open[controller]:
                del self._open[controller]


class WebSocketUpgrades:
    """Upgrades that are not agents'. One for a worker."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        sessions: LiveSessions,
        open_ones: OpenWebSockets | None = None,
        generation: int = 0,
    ) -> None:
        self._sessions = sessions
        self._generation = generation
        limits = RelayLimits.of(config)
        # Somebody may pause a program, its output with it, for longer than an agent may be silent.
        self._limits = replace(limits, client=limits.controller)
        self._open = OpenWebSockets(1) if open_ones is None else open_ones

    async def forward(self, exchange: Exchange, upstream: Upstream) -> None:
        """Serve one upgrade to the end of its session.

        Raises NotImplementedHere, UpgradeRefused, LimitExceeded, ControllerUnreachable,
        ControllerTimeout, ClientGone, Stalled, Draining.
        """
        check_request(exchange)
        check_route(exchange)
        with self.place(exchange):
            answer = await self.ask(exchange, upstream)
            if answer.accepted:
                await self.run(exchange, answer)
                return
        # It holds no place of a WebSocket any more, so something else has to bound it.
        await self.refuse(exchange, answer, response_fields(answer.head))

    def place(self, exchange: Exchange) -> AbstractContextManager[None]:
        """Hold a place for one more WebSocket of the controller. Raises LimitExceeded."""
        match = exchange.match
        return self._open.place(match.controller_id, match.controller.connections.websockets)

    async def ask(
        self,
        exchange: Exchange,
        upstream: Upstream,
        replaced: Iterable[Field] = (),
        dropped: Iterable[bytes] = (),
    ) -> UpgradeAnswer:
        """Ask the controller; for the fields see ``upgrade_request``. Raises as ``forward``."""
        head = upgrade_request(exchange, agent_fields=False, replaced=replaced, dropped=dropped)
        return await self._ask(exchange, upstream, head, exchange.match.route.response_timeout)

    async def run(
        self,
        exchange: Exchange,
        answer: UpgradeAnswer,
        downward: type[FrameScanner] = FrameScanner,
    ) -> None:
        """Pass 101 on, and frames until the session ends. Raises what ``accept`` does.

        ``downward`` follows the controller's frames.
        """
        await self._run(exchange, *await accept(exchange, answer, Side.CLIENT), downward)

    async def refuse(
        self, exchange: Exchange, answer: UpgradeAnswer, fields: Iterable[Field]
    ) -> None:
        """Pass a refusal on with ``fields``, in the time that the route has for an answer."""
        timeout: float = exchange.match.route.response_timeout
        with trio.move_on_after(timeout):
            await refuse(exchange, answer, fields)
            return
        raise ControllerTimeout(detail=f"the refusal of an upgrade took more than {timeout:g} s")

    async def _ask(
        self, exchange: Exchange, upstream: Upstream, head: RequestHead, limit: float
    ) -> UpgradeAnswer:
        answer: UpgradeAnswer | None = None
        until = trio.current_time() + limit
        try:
            async with exchange.cancel_if_client_leaves():
                answer = await ask(exchange, upstream, head, until=until)
        except BaseException:  # such as the client's leaving when the answer is in
            if answer is not None:
                answer.connection.close()
            raise
        assert answer is not None, "neither an answer nor an error"
        return answer

    async def _run(
        self, exchange: Exchange, client: Leg, controller: Leg, downward: type[FrameScanner]
    ) -> None:
        match = exchange.match
        names = {
            "session": exchange.request_id,
            "controller": match.controller_id,
            "route": match.route.id,
            "path": redact_path(exchange.request.path)[:256],
            "client": exchange.client_address,
            **exchange.trace_fields(),
        }
        session = RelaySession(
            names,
            client=client,
            controller=controller,
            limits=self._limits,
            downward=downward,
            generation=self._generation,
        )
        with self._sessions.register(session):
            await session.run()
