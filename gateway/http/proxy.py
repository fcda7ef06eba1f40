"""A request to its controller and the answer back, both streaming.

Owns: what a reverse proxy does between two connections: both bodies at once, with back-pressure and
nothing buffered; heads on their way as soon as they are in; who is told what when one side fails.

Must not know: agents' endpoints (other than that their fields go nowhere else), how connections to
controllers are made.

One task reads the answer, and one more uploads where the request has a body that is not in yet.
The upload goes on while the answer comes, since Jenkins answers some requests while it reads them
(``POST /cli``); when the answer is complete, whatever is left of the upload is of no use to
anybody and stops.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from gateway.config.models import ControllerConfig, TcpDiscoveryRewrite
from gateway.config.values import Address
from gateway.errors import (
    ClientGone,
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
    NotImplementedHere,
    RequestTimeout,
    RouteNotFound,
)
from gateway.http.cli_ports import advertised_fields
from gateway.http.controller_connection import ControllerConnection
from gateway.http.exchange import Exchange
from gateway.http.forwarding import (
    informational_fields,
    request_headers,
    response_fields,
    trailer_fields,
)
from gateway.http.introduction import proxy_header
from gateway.http.router import Endpoint
from gateway.http.upstream import Upstream, Upstreams
from gateway.http.websocket_upgrade import WebSocketUpgrades
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.transport.stream import ReceiveInterrupted

# How often it is looked, while a controller says nothing, whether the client is still there.
CLIENT_CHECK: Final = 30.0
# What a client may take for the beginning of a body before its rate counts (Kestrel: 5 s).
BODY_GRACE: Final = 10.0
# RFC 9110 section 9.2.2.
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PROPFIND"})


class Tap:
    """Somebody who has a say in one exchange: where it goes, and what passes. This one has none.

    ``address``: the one that it must go to. ``reads``: the request's body may come out longer or
    shorter than it went in.
    """

    address: Address | None = None
    reads = False

    def connected(self, address: Address) -> None:
        """There is a connection to ``address``; nothing has been sent on it."""

    def answered(self, head: ResponseHead) -> None:
        """The controller has answered; the client knows nothing of it yet.

        Raises GatewayError, which is the client's answer then.
        """

    def request_data(self, data: bytes) -> bytes:
        """Return what goes to the controller for a piece of the request's body.

        Raises GatewayError, which ends the exchange.
        """
        return data

    def response_data(self, data: bytes) -> bytes:
        """Return what goes to the client for a piece of the answer's body."""
        return data


class Proxy:
    """Forwards exchanges to their controllers."""

    def __init__(
        self,
        upstreams: Upstreams,
        *,
        upgrades: WebSocketUpgrades | None = None,
        client_check: float = CLIENT_CHECK,
    ) -> None:
        """Use ``upstreams``; ``upgrades`` has WebSockets, None refuses them; ``client_check`` in
        seconds.
        """
        self._upstreams = upstreams
        self._upgrades = upgrades
        self._client_check = client_check

    async def forward(self, exchange: Exchange, tap: Tap | None = None) -> None:
        """Forward the request and stream the answer back.

        Raises RouteNotFound for what no controller may answer, NotImplementedHere and
        UpgradeRefused for an upgrade that is none to WebSocket or not allowed,
        RemoteProtocolError for a request that must not be forwarded, ControllerUnreachable,
        ControllerTimeout, LimitExceeded, ClientGone, RequestTimeout, Stalled and Draining for what
        goes wrong on the way.
        """
        match = exchange.match
        upstream = self._upstreams.get(match.controller_id)
        if upstream is None or _is_hidden(match.controller, match.endpoint):
            raise RouteNotFound()
        request = exchange.request
        if b"upgrade" in request.headers:
            if self._upgrades is None:
                raise NotImplementedHere("upgrades are not implemented for this path")
            await self._upgrades.forward(exchange, upstream)
            return
        tap = _NO_TAP if tap is None else tap
        head = _request_head(exchange, upstream, tap)
        body = exchange.body_at_hand()  # malformed, it never reaches the controller
        bodyless = not request.has_body
        idempotent = bodyless and request.method in _IDEMPOTENT
        fresh = False
        greeting = proxy_header(exchange) if upstream.introduces else None
        exchange.upstream_began()
        while True:
            lease = await upstream.acquire(
                repeatable=idempotent,
                fresh=fresh,
                greeting=greeting,
                client=exchange.client_address,
                only=tap.address,
            )
            tap.connected(lease.address)
            try:
                forwarding = _Forwarding(exchange, lease.connection, self._client_check, tap)
                await forwarding.run(head, body)
            except ControllerUnreachable:
                # ARCHITECTURE section 5 item 5: once more, if all that happened is that the
                # controller closed a connection that was idle.
                again = bodyless and lease.connection.may_repeat(idempotent=idempotent)
                if fresh or not again:
                    upstream.failed(lease.address)
                    raise
                fresh = True
            except ControllerTimeout:
                upstream.failed(lease.address)  # it accepts, and that is all
                raise
            else:
                upstream.succeeded(lease)
                return
            finally:
                upstream.release(lease)


def _is_hidden(controller: ControllerConfig, endpoint: Endpoint) -> bool:
    return endpoint is Endpoint.TCP_DISCOVERY and controller.tcp_discovery == "hide"


def _is_upload_of_command_line(exchange: Exchange) -> bool:
    """Say whether this is the half of the CLI's full-duplex pair (PROTOCOLS E.3) that uploads for
    as long as the command runs, and is answered after that. The other is answered at once.
    """
    request = exchange.request
    own_path = b"%b/cli" % exchange.match.prefix.encode()
    return request.method == b"POST" and request.path == own_path and request.has_body


def _request_head(exchange: Exchange, upstream: Upstream, tap: Tap) -> RequestHead:
    request = exchange.request
    # TCP agents say their name when they ask for the port (PROTOCOLS B.2); nobody else is told one.
    discovery = exchange.match.endpoint is Endpoint.TCP_DISCOVERY
    headers = request_headers(
        request,
        exchange.provenance,
        request_id=exchange.request_id,
        agent_fields=discovery,
        trace=exchange.trace,
    )
    if b"host" not in headers:  # HTTP/1.0
        headers = Headers([(b"Host", upstream.url.authority.encode()), *headers])
    if tap.reads and not request.chunked and request.has_body:
        headers = headers.without([b"content-length"])
        headers = Headers([*headers, (b"Transfer-Encoding", b"chunked")])
    target = exchange.match.inside(request.target)
    return RequestHead(request.method, target, b"1.1", headers)


def _answer_fields(exchange: Exchange, head: ResponseHead) -> list[Field]:
    fields = response_fields(head)
    fields = advertised_fields(fields, exchange.match.controller.cli)
    rewrite = exchange.match.controller.tcp_discovery
    if (
        exchange.match.endpoint is Endpoint.TCP_DISCOVERY
        and isinstance(rewrite, TcpDiscoveryRewrite)
        and head.status == 200
    ):
        port = b"%d" % rewrite.port
        fields = list(
            Headers(fields).with_(
                (b"X-Jenkins-JNLP-Host", rewrite.host.encode()),
                (b"X-Jenkins-JNLP-Port", port),
                (b"X-Hudson-JNLP-Port", port),
            )
        )
    return fields


_NO_TAP: Final = Tap()


class _Forwarding:
    """One exchange on its way."""

    __slots__ = (
        "_client_check",
        "_connection",
        "_deadline",
        "_exchange",
        "_failure",
        "_minimum_rate",
        "_tap",
        "_timeout",
    )

    def __init__(
        self,
        exchange: Exchange,
        connection: ControllerConnection,
        client_check: float,
        tap: Tap,
    ) -> None:
        self._tap = tap
        self._exchange = exchange
        self._connection = connection
        self._client_check = client_check
        self._deadline = math.inf  # for the answer's head
        self._failure: GatewayError | None = None
        route = exchange.match.route
        self._timeout: float = route.response_timeout
        self._minimum_rate: int = route.minimum_body_rate
        if _is_upload_of_command_line(exchange):
            self._timeout, self._minimum_rate = math.inf, 0

    async def run(self, head: RequestHead, body: bytes) -> None:
        """Forward a request of which ``body`` is at hand already."""
        exchange = self._exchange
        body = self._tap.request_data(body)
        if exchange.request_received:
            trailers = trailer_fields(exchange.request, exchange.request_trailers)
            await self._connection.send_request(head, body, ended=True, trailers=trailers)
            self._request_is_out()
            await self._answer()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, head, body, nursery.cancel_scope)
            try:
                await self._answer()
            except GatewayError as error:  # the nursery would wrap it in a group
                self._failure = self._failure or error
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def _request_is_out(self) -> None:
        self._deadline = trio.current_time() + self._timeout
        self._connection.hurry(self._deadline)

    # -- the request's body ------------------------------------------------------------------------

    async def _upload(self, head: RequestHead, body: bytes, scope: trio.CancelScope) -> None:
        try:
            await self._send_all(head, body)
        except ControllerUnreachable:
            pass  # it stopped listening; it may have said why, which the other task finds out
        except GatewayError as error:
            self._failure = error
            scope.cancel()
        self._request_is_out()

    async def _send_all(self, head: RequestHead, body: bytes) -> None:
        exchange, connection = self._exchange, self._connection
        await connection.send_request(head, body, ended=False)
        ended = False
        received, waited = exchange.body_received, 0.0
        while not ended:
            began = trio.current_time()
            data = await exchange.receive_body()
            received += len(data)
            waited += trio.current_time() - began
            self._check_rate(received, waited)
            ended = exchange.request_received
            trailers = trailer_fields(exchange.request, exchange.request_trailers) if ended else ()
            passed = self._tap.request_data(data)
            await connection.send_body(passed, ended=ended, trailers=trailers)

    def _check_rate(self, received: int, waited: float) -> None:
        """Refuse a body that trickles; only the time spent waiting for the client counts."""
        if waited <= BODY_GRACE or received >= (waited - BODY_GRACE) * self._minimum_rate:
            return
        raise RequestTimeout(
            detail=f"{received} bytes of the body in {waited:.0f} s: less than"
            f" {self._minimum_rate} bytes/s"
        )

    # -- the answer --------------------------------------------------------------------------------

    async def _answer(self) -> None:
        exchange, connection = self._exchange, self._connection
        head = await self._final_head()
        self._tap.answered(head)
        fields = _answer_fields(exchange, head)
        exchange.queue_head(head.status, head.reason, fields, length=head.content_length)
        data = connection.body_at_hand()
        while True:
            if data:
                exchange.queue_body(self._tap.response_data(data))
            if connection.received_all:
                exchange.queue_end(trailer_fields(head, connection.trailers))
                await exchange.flush()
                return
            await exchange.flush()
            data = await self._receive_body()

    async def _final_head(self) -> ResponseHead:
        """Return the final head, after passing informational ones on."""
        exchange = self._exchange
        while True:
            check_at = trio.current_time() + self._client_check
            try:
                head = await self._connection.receive_head(until=min(self._deadline, check_at))
            except ReceiveInterrupted:
                await self._check_patience()
                continue
            if head.status >= 200:
                return head
            exchange.queue_informational(head.status, head.reason, informational_fields(head))
            await exchange.flush()

    async def _check_patience(self) -> None:
        """Raise ControllerTimeout or ClientGone, if waiting for the answer's head is over."""
        if trio.current_time() >= self._deadline:
            raise ControllerTimeout(
                detail=f"no answer {self._timeout:g} s after the end of the request"
            )
        await self._check_client()

    async def _receive_body(self) -> bytes:
        """Receive from the controller, looking for the client from time to time.

        A client that only closed its sending side is served as long as answers keep coming; one
        that closed it and then hears nothing for a while is taken to be gone.
        """
        while True:
            until = trio.current_time() + self._client_check
            try:
                return await self._connection.receive_body(until=until)
            except ReceiveInterrupted:
                await self._check_client()

    async def _check_client(self) -> None:
        if self._exchange.request_received and await self._exchange.client_has_left():
            raise ClientGone()
