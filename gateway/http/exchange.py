"""One request and its answer, as a handler sees it.

Owns: the request's head and body, the one answer, the switch to another protocol, and noticing
that the client has left. Bytes that arrived too early (a pipelined request, an agent's first
frames) are kept, bounded, and handed on.

Must not know: who handles the request, keep-alive between requests, the error table.

Writing is two steps, ``queue_*`` and ``flush``, so that a head and a small body leave in one send:
one record, one segment. ``respond`` does both for answers that are complete. Every I/O failure of
the client's side is ClientGone (or Stalled) here; StreamBroken never leaves this module.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import trio

from gateway.config.models import ListenerConfig
from gateway.errors import (
    BodyTooBig,
    ClientGone,
    Draining,
    GatewayError,
    RemoteProtocolError,
    RequestTimeout,
    Stalled,
    UpgradeRefused,
)
from gateway.http.client_limits import ClientLimits
from gateway.http.forwarding import Provenance
from gateway.http.framing import ServerFraming
from gateway.http.router import RouteMatch
from gateway.http.trace_context import TraceContext
from gateway.protocol.http_head import RequestHead, write_response_head
from gateway.protocol.http_headers import Field
from gateway.runtime.drain import Drain
from gateway.transport.stream import PeerAddress, ReceiveInterrupted, Stream, StreamBroken

_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


def _ignore(exchange: Exchange) -> None:
    pass


def reason_of(status: int) -> bytes:
    """Return the reason phrase of a status that the gateway itself answers."""
    return _REASONS.get(status, b"")


class Exchange:
    """One request, its route, and the answer to come.

    ``error_headers`` are added to the answer if the exchange ends with an error (an agent's
    cookie). ``request_id`` doubles as the error id that a client sees. For the access log: the
    status that was sent, sizes of the bodies in bytes, and times on trio's clock.
    """

    __slots__ = (
        "_drain",
        "_early",
        "_ended",
        "_framing",
        "_limits",
        "_match",
        "_on_upgrade",
        "_queue",
        "answered_at",
        "body_received",
        "body_sent",
        "error_headers",
        "listener",
        "provenance",
        "received_at",
        "request",
        "request_id",
        "responded",
        "started",
        "status",
        "stream",
        "trace",
        "upgraded",
        "upstream_at",
    )

    def __init__(
        self,
        request: RequestHead,
        stream: Stream,
        *,
        listener: ListenerConfig,
        provenance: Provenance,
        request_id: str,
        trace: TraceContext | None = None,
        limits: ClientLimits,
        early: bytes = b"",
        drain: Drain | None = None,
        on_upgrade: Callable[[Exchange], None] = _ignore,
    ) -> None:
        """Begin an exchange; ``early`` is what arrived with the request's head, after it.

        Once clients are to leave, by ``drain``, the answer is the connection's last; once it has
        begun nothing is upgraded.
        ``on_upgrade`` is told when 101 has been sent.
        """
        self.request = request
        self.stream = stream
        self.listener = listener
        self.provenance = provenance
        self.request_id = request_id  # what the request is called in logs, here and elsewhere
        self.trace = trace
        self.error_headers: list[Field] = []
        self.started = False  # the final head is on its way: too late for an error answer
        self.responded = False  # the whole answer has been sent
        self.upgraded = False  # the stream is somebody else's
        self.status: int | None = None
        self.body_received = self.body_sent = 0
        self.received_at = trio.current_time()
        self.upstream_at: float | None = None
        self.answered_at: float | None = None
        self._on_upgrade = on_upgrade
        self._match: RouteMatch | None = None
        self._limits = limits
        self._early = early
        self._drain = Drain() if drain is None else drain
        self._ended = False
        self._framing = ServerFraming(request)
        self._queue: list[bytes] = []

    @property
    def match(self) -> RouteMatch:
        """The route; set before a handler sees the exchange."""
        assert self._match is not None, "the exchange has not been routed"
        return self._match

    @match.setter
    def match(self, match: RouteMatch) -> None:
        self._match = match

    @property
    def routed(self) -> bool:
        """Say whether a route was found."""
        return self._match is not None

    @property
    def peer(self) -> PeerAddress:
        """The TCP peer, which may be a proxy."""
        return self.stream.peer

    @property
    def client_address(self) -> str:
        """The client's address, as far as proxies on the way are believed."""
        return self.provenance.client

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, as the client saw it."""
        return self.provenance.scheme

    def trace_fields(self) -> dict[str, str]:
        """Return the trace as a field of a log line; none where it is not known."""
        return {} if self.trace is None else {"trace_id": self.trace.trace_id}

    def upstream_began(self) -> None:
        """Note that from now on it is the controller's time that passes."""
        if self.upstream_at is None:
            self.upstream_at = trio.current_time()

    # -- the request's body ------------------------------------------------------------------------

    def check_length(self) -> None:
        """Raise BodyTooBig for a request that announces more than is allowed."""
        length, limit = self.request.content_length, self._limits.body
        if length is not None and limit is not None and length > limit:
            raise self._too_big(limit)

    def _too_big(self, limit: int) -> BodyTooBig:
        return BodyTooBig(f"body too big: allowed are {limit} bytes")

    def _take(self, data: bytes) -> bytes:
        piece = self._framing.receive_data(data)
        self.body_received += len(piece)
        limit = self._limits.body
        if limit is not None and self.body_received > limit:
            raise self._too_big(limit)
        return piece

    @property
    def request_received(self) -> bool:
        """Say whether the whole request is in."""
        return self._framing.received_all

    @property
    def request_trailers(self) -> tuple[Field, ...]:
        """The request's trailer fields, complete once ``request_received`` is true."""
        return self._framing.trailers

    @property
    def rest(self) -> bytes:
        """What arrived after the request."""
        return self._framing.rest + self._early

    def body_at_hand(self) -> bytes:
        """Return what of the body arrived together with the head.

        Raises RemoteProtocolError, BodyTooBig.
        """
        if self._framing.received_all:
            return b""
        data, self._early = self._early, b""
        return self._take(data)

    async def receive_body(self) -> bytes:
        """Return the next piece of the request's body, ``b""`` at its end.

        Raises ClientGone when the client leaves before, RequestTimeout when it pauses for too long,
        RemoteProtocolError for a malformed body, BodyTooBig.
        """
        piece = self.body_at_hand()
        while not piece and not self._framing.received_all:
            piece = self._take(await self._receive_some())
        return piece

    async def _receive_some(self) -> bytes:
        pause = self._limits.body_timeout
        try:
            data = await self._receive_or_leave(trio.current_time() + pause)
        except ReceiveInterrupted:
            raise RequestTimeout(detail=f"no byte of the request body for {pause:g} s") from None
        if not data:
            raise ClientGone(detail="the connection ended in the middle of a request body")
        return data

    async def _receive_or_leave(self, until: float = math.inf) -> bytes:
        try:
            return await self.stream.receive_some(until=until)
        except StreamBroken as error:
            raise ClientGone(detail=str(error)) from None

    async def drain(self) -> bool:
        """Read and drop what is left of the request's body; say whether the end was reached.

        Bounded in bytes and time; a body of known length that is longer is not even begun, and a
        client that waits for 100 Continue is not waited for.
        """
        if self.request_received:
            return True
        length = self.request.content_length
        if length is None or length > self._limits.drain or self.expects_continue:
            return False
        with trio.move_on_after(self._limits.drain_timeout):
            try:
                while await self.receive_body():
                    pass
            except (BodyTooBig, ClientGone, RemoteProtocolError, RequestTimeout):
                return False
        return self.request_received

    @property
    def expects_continue(self) -> bool:
        """Say whether the client asked to be told before it sends the body."""
        request = self.request
        return request.version == b"1.1" and b"100-continue" in request.headers.elements(b"expect")

    # -- the answer --------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Say whether another request may follow on the connection, as far as the answer goes."""
        return self.responded and not self._framing.closing

    async def respond(
        self, status: int, headers: Iterable[Field] = (), body: bytes = b"", *, close: bool = False
    ) -> None:
        """Send a whole answer in one send. Raises ClientGone, Stalled.

        Content-Length and Date are added; the body stays away from HEAD, 204 and 304. ``close``: no
        request may follow.
        """
        fields = [*headers]
        if status not in {204, 304}:
            fields.append((b"Content-Length", b"%d" % len(body)))
        fields.append((b"Date", formatdate(usegmt=True).encode()))
        self.queue_head(status, reason_of(status), fields, length=len(body), close=close)
        if body:
            self.queue_body(body)
        self.queue_end()
        await self.flush()

    def queue_head(
        self,
        status: int,
        reason: bytes,
        fields: Iterable[Field],
        *,
        length: int | None,
        close: bool = False,
    ) -> None:
        """Queue the final head. ``length`` of the body in bytes; None: not known yet.

        ``fields`` hold no Transfer-Encoding, Connection or X-Request-Id, and Content-Length only
        with ``length``. The connection will close after the answer if it comes before the end of a
        body that is more than ``drain`` would take, and when clients are to leave.
        """
        close = close or self._drain.leaving or not self._can_drain()
        own = self._with_own_fields(fields)
        head = self._framing.start_response(status, reason, own, length=length, close=close)
        self._queue.append(head)
        self.started = True
        self.status = status
        self.answered_at = trio.current_time()

    def _with_own_fields(self, fields: Iterable[Field]) -> list[Field]:
        """Add the request's id, which is the gateway's to tell, and HSTS where nobody did."""
        own = [*fields, (b"X-Request-Id", self.request_id.encode())]
        tls = self.listener.tls
        if tls is not None and tls.hsts is not None:
            name = b"Strict-Transport-Security"
            if all(each[0].lower() != name.lower() for each in own):
                own.append((name, tls.hsts.value.encode()))
        return own

    def _can_drain(self) -> bool:
        if self.request_received:
            return True
        length = self.request.content_length
        return length is not None and length <= self._limits.drain and not self.expects_continue

    def queue_informational(self, status: int, reason: bytes, fields: Iterable[Field]) -> None:
        """Queue a 1xx head, not 101; HTTP/1.0 clients get none (RFC 9110 section 15.2)."""
        if self.request.version == b"1.1":
            self._queue.append(write_response_head(status, reason, fields))

    def queue_body(self, data: bytes) -> None:
        """Queue a piece of the answer's body; nothing of it leaves for HEAD, 204 and 304."""
        piece = self._framing.send_data(data)
        if piece:
            self.body_sent += len(data)
        self._queue.append(piece)

    def queue_end(self, trailers: Iterable[Field] = ()) -> None:
        """Queue the end of the answer; trailers go to HTTP/1.1 clients of chunked answers only."""
        self._queue.append(self._framing.end_response(trailers))
        self._ended = True

    async def flush(self) -> None:
        """Send what is queued, in one send. Raises ClientGone, Stalled."""
        data = b"".join(self._queue)
        self._queue.clear()
        await self._send(data)
        self.responded = self._ended

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        stream, timeout = self.stream, self._limits.send_timeout
        try:
            if stream.send_nowait(data):
                return
            before: int | None = None
            while (taken := stream.acknowledged()) != before:  # however slowly, it takes something
                before = taken
                with trio.move_on_after(timeout):
                    await stream.flush()
                    return
        except StreamBroken as error:
            raise ClientGone(detail=str(error)) from None
        raise Stalled(detail=f"the client took nothing for {timeout:g} s")

    # -- upgrades and clients that leave -----------------------------------------------------------

    async def upgrade(
        self, headers: Iterable[Field], reason: bytes = b"Switching Protocols"
    ) -> tuple[Stream, bytes]:
        """Send 101 with exactly ``headers``; return the stream and what arrived on it already.

        From here on the caller owns the stream: closing it included. Raises ClientGone, Stalled,
        UpgradeRefused for a request that has a body, and Draining when the gateway is stopping.
        """
        if not self.request_received:
            raise UpgradeRefused("an upgrade request must not have a body")
        if self._drain.begun:
            raise Draining()  # a session of a moment would only look like a failure
        head = write_response_head(101, reason, headers)
        self.started = self.upgraded = True
        await self._send(head)
        self.status = 101
        self.answered_at = trio.current_time()
        self._on_upgrade(self)
        return self.stream, self.rest

    @asynccontextmanager
    async def cancel_if_client_leaves(self) -> AsyncIterator[None]:
        """Cancel the body of the ``async with`` when the client's EOF or reset arrives meanwhile.

        ClientGone is raised then. An error of the body comes out as it is if it is a GatewayError
        or StreamBroken (a trio nursery would wrap it in a group). Bytes that arrive are kept for
        ``upgrade`` and ``receive_body``; more than the limit end the body with
        RemoteProtocolError. Nobody else may receive meanwhile.
        """
        ended: list[ClientGone | RemoteProtocolError] = []
        failure: GatewayError | StreamBroken | None = None

        async def watch(scope: trio.CancelScope) -> None:
            try:
                await self._collect_early()
            except (ClientGone, RemoteProtocolError) as error:
                ended.append(error)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            try:
                yield
            except (GatewayError, StreamBroken) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if ended:
            raise ended[0]

    async def _collect_early(self) -> None:
        while True:
            data = await self._receive_or_leave()
            if not data:
                raise ClientGone()
            self.keep_early(data)

    def keep_early(self, data: bytes) -> None:
        """Keep bytes that came before their time. Raises RemoteProtocolError beyond the limit."""
        self._early += data
        if len(self._early) > self._limits.early:
            raise RemoteProtocolError("too much data before the answer")

    async def client_has_left(self) -> bool:
        """Look, without waiting, whether the client has ended the connection.

        Meant for the wait for a silent controller, once the request is in.
        """
        with trio.move_on_after(0.001):
            try:
                data = await self.stream.receive_some()
            except StreamBroken:
                return True
            if not data:
                return True
            self.keep_early(data)
        return False

    def abort(self) -> None:
        """Cut the connection, so that the client sees that something is missing."""
        self.stream.abort()
