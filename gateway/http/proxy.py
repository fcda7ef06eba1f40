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

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from gateway.config.models import ControllerConfig, GatewayConfig, TcpDiscoveryRewrite
from gateway.errors import (
    ClientGone,
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
    NotImplementedHere,
    RouteNotFound,
)
from gateway.http.controller_connection import Connector, ControllerConnection
from gateway.http.exchange import Exchange
from gateway.http.forwarding import request_headers, response_fields
from gateway.http.router import Endpoint
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers

T = TypeVar("T")

# From the last byte of the request to the answer's head (FIELD 1d; Jenkins' own nginx example: 90
# s).
ANSWER_TIMEOUT: Final = 90.0
# How often it is looked, while a controller says nothing, whether the client is still there.
CLIENT_CHECK: Final = 30.0


class Proxy:
    """Forwards exchanges to their controllers."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
        client_check: float = CLIENT_CHECK,
    ) -> None:
        """Prepare the ways to all controllers of ``config``; times in seconds."""
        self._connectors = {
            name: Connector(controller.url)
            for name, controller in config.controllers.items()
            if controller.url is not None
        }
        self._answer_timeout = answer_timeout
        self._client_check = client_check

    async def forward(self, exchange: Exchange) -> None:
        """Forward the request and stream the answer back.

        Raises RouteNotFound for what no controller may answer, NotImplementedHere for an upgrade,
        RemoteProtocolError for a request that must not be forwarded, ControllerUnreachable,
        ControllerTimeout, ClientGone, RequestTimeout and Stalled for what goes wrong on the way.
        """
        match = exchange.match
        connector = self._connectors.get(match.controller_id)
        if connector is None or _is_hidden(match.controller, match.endpoint):
            raise RouteNotFound()
        if b"upgrade" in exchange.request.headers:
            raise NotImplementedHere("upgrades are not implemented for this path")
        head = _request_head(exchange, connector)
        body = exchange.body_at_hand()  # malformed, it never reaches the controller
        connection = await connector.connect()
        try:
            await _Forwarding(self, exchange, connection).run(head, body)
        finally:
            await connection.aclose()

    @property
    def answer_timeout(self) -> float:
        """Seconds from the end of a request to the head of its answer."""
        return self._answer_timeout

    @property
    def client_check(self) -> float:
        """Seconds of a controller's silence after which the client is looked for."""
        return self._client_check


def _is_hidden(controller: ControllerConfig, endpoint: Endpoint) -> bool:
    return endpoint is Endpoint.TCP_DISCOVERY and controller.tcp_discovery == "hide"


def _request_head(exchange: Exchange, connector: Connector) -> RequestHead:
    request = exchange.request
    # TCP agents say their name when they ask for the port (PROTOCOLS B.2); nobody else is told one.
    discovery = exchange.match.endpoint is Endpoint.TCP_DISCOVERY
    headers = request_headers(request, exchange.provenance, agent_fields=discovery)
    if b"host" not in headers:  # HTTP/1.0
        headers = Headers([(b"Host", connector.url.authority.encode()), *headers])
    return RequestHead(request.method, request.target, b"1.1", headers)


def _answer_fields(exchange: Exchange, head: ResponseHead) -> list[Field]:
    fields = response_fields(head)
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


class _Forwarding:
    """One exchange on its way."""

    __slots__ = ("_connection", "_exchange", "_failure", "_proxy", "_waiting")

    def __init__(self, proxy: Proxy, exchange: Exchange, connection: ControllerConnection) -> None:
        self._proxy = proxy
        self._exchange = exchange
        self._connection = connection
        self._waiting = trio.CancelScope()  # the wait for the answer's head
        self._failure: GatewayError | None = None

    async def run(self, head: RequestHead, body: bytes) -> None:
        """Forward a request of which ``body`` is at hand already."""
        exchange = self._exchange
        if exchange.request_received:
            trailers = exchange.request_trailers
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
        self._waiting.deadline = trio.current_time() + self._proxy.answer_timeout

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
        while not ended:
            data = await exchange.receive_body()
            ended = exchange.request_received
            trailers = exchange.request_trailers if ended else ()
            await connection.send_body(data, ended=ended, trailers=trailers)

    # -- the answer --------------------------------------------------------------------------------

    async def _answer(self) -> None:
        exchange, connection = self._exchange, self._connection
        head = await self._final_head()
        fields = _answer_fields(exchange, head)
        exchange.queue_head(head.status, head.reason, fields, length=head.content_length)
        data = connection.body_at_hand()
        while True:
            if data:
                exchange.queue_body(data)
            if connection.received_all:
                exchange.queue_end(connection.trailers)
                await exchange.flush()
                return
            await exchange.flush()
            data = await self._while_client_stays(connection.receive_body)

    async def _final_head(self) -> ResponseHead:
        """Return the final head, after passing informational ones on."""
        with self._waiting:
            while True:
                head = await self._while_client_stays(self._connection.receive_head)
                if head.status >= 200:
                    return head
                fields = response_fields(head)
                self._exchange.queue_informational(head.status, head.reason, fields)
                await self._exchange.flush()
        limit = self._proxy.answer_timeout
        raise ControllerTimeout(detail=f"no answer {limit:g} s after the end of the request")

    async def _while_client_stays(self, receive: Callable[[], Awaitable[T]]) -> T:
        """Receive from the controller, looking for the client from time to time.

        A client that only closed its sending side is served as long as answers keep coming; one
        that closed it and then hears nothing for a while is taken to be gone.
        """
        while True:
            with trio.move_on_after(self._proxy.client_check):
                return await receive()
            if self._exchange.request_received and await self._exchange.client_has_left():
                raise ClientGone()
