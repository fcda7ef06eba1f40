"""One client connection: requests in, exchanges to the handler, errors to the client.

Owns: the keep-alive loop and its deadlines, the request id, and the reading of the error table
before 101. Whatever ends an exchange becomes an answer here, or a cut where an answer has begun.

Must not know: what handlers do, endpoints, controllers.

Explanations go into header fields: agents' WebSocket client never shows a body.
``X-Gateway-Error`` is the public text, ``X-Gateway-Error-Id`` is also in the one log line of the
error.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from gateway.errors import (
    ClientGone,
    GatewayError,
    MethodRefused,
    NotAuthorized,
    RemoteProtocolError,
    RequestTimeout,
    Stalled,
    outcome_of,
    public_text,
)
from gateway.http.access import record_of, refusal_record
from gateway.http.exchange import Exchange, reason_of
from gateway.http.exposure import check_exposure
from gateway.http.forwarding import ProxyTrust
from gateway.http.redirect import REDIRECT_STATUS, https_location
from gateway.http.request_id import new_request_id
from gateway.http.router import Endpoint, Router
from gateway.http.serving import Serving
from gateway.http.trace_context import trace_of
from gateway.observability.access_log import AccessRecord
from gateway.observability.logs import get_logger
from gateway.observability.target import redact_path
from gateway.protocol.cookie import is_cookie
from gateway.protocol.http_head import RequestHead, RequestHeadReader, write_response_head
from gateway.protocol.http_headers import Field
from gateway.runtime.drain import Drain
from gateway.transport.stream import ReceiveInterrupted, Stream, StreamBroken
from gateway.transport.tls_context import ClientDemand

_log = get_logger("system")

_MAX_ERROR_TEXT: Final = 512
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa1-\xff]+")
# How much of a refused agent's name the log shows.
_MAX_NODE: Final = 256
_MAX_PATH: Final = 256
# A client that vanished without FIN is noticed after this, seconds (FIELD 1d: controller leg).
_USER_TIMEOUT: Final = 300.0


async def serve_connection(
    stream: Stream,
    current: Callable[[], Serving],
    *,
    drain: Drain | None = None,
    proved: ClientDemand | None = None,
) -> None:
    """Serve the requests of one client until either side ends the connection, or ``drain`` begins.

    ``current`` says anew for each request what it is served by. ``proved`` is what its handshake
    demanded, on the terms of when it was accepted; once something else is demanded, requests are
    answered 421. A GatewayError that its handler raises becomes the answer of its row in the error
    table, anything else is 500 and ends the connection. Closes the stream, unless an exchange was
    upgraded: then its handler owned the stream. Raises nothing but ``trio.Cancelled``.
    """
    connection = _Connection(stream, current, Drain() if drain is None else drain, proved)
    try:
        error = await _attempt(connection.run())
    except BaseException:
        stream.abort()
        raise
    if error is not None:
        _log.error("internal error", **stream.peer.as_fields(), exc_info=error)
        stream.abort()


async def _attempt(action: Awaitable[None]) -> Exception | None:
    """Return what ``action`` raises: a bug ends one connection, never the worker."""
    try:
        await action
    except Exception as error:
        return error
    return None


def error_text(text: str) -> bytes:
    """Return ``text`` as a field value: one line of printable ISO-8859-1, at most 512 bytes."""
    return _UNPRINTABLE.sub("?", " ".join(text.split()))[:_MAX_ERROR_TEXT].encode("latin-1")


def error_answer(error: BaseException, request_id: str) -> tuple[int, list[Field], bytes]:
    """Return status, fields and body by which ``error`` is told to the client."""
    outcome = outcome_of(error)
    status = 500 if outcome.status is None else outcome.status
    text = NotAuthorized.default_public if outcome.silent else public_text(error)
    fields: list[Field] = [
        (b"X-Gateway-Error", error_text(text)),
        (b"X-Gateway-Error-Id", request_id.encode()),
    ]
    body = b""
    if not outcome.silent:
        fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
        body = text[:_MAX_ERROR_TEXT].encode() + b"\n"
    if isinstance(error, MethodRefused):
        fields.append((b"Allow", error.allowed.encode()))
    return status, fields, body


class _Connection:
    """The state of one client connection."""

    __slots__ = (
        "_access",
        "_current",
        "_drain",
        "_handle",
        "_idle",
        "_limits",
        "_listener",
        "_proved",
        "_recorded",
        "_router",
        "_serving",
        "_stream",
        "_trust",
        "_warned",
    )

    def __init__(
        self,
        stream: Stream,
        current: Callable[[], Serving],
        drain: Drain,
        proved: ClientDemand | None,
    ) -> None:
        self._recorded: Exchange | None = None  # the last one that has its line
        self._warned = False  # of a large head
        self._idle = False  # waiting for a request to begin
        self._stream = stream
        self._drain = drain
        self._proved = proved
        self._current = current
        self._take(current())

    def _take(self, serving: Serving) -> None:
        """Serve by ``serving`` from now on."""
        self._serving = serving
        self._access = serving.access
        self._handle = serving.handle
        self._limits = serving.limits
        self._listener = serving.listener
        self._router = serving.router
        self._trust = ProxyTrust(
            serving.trusted_proxies,
            self._stream.peer.host,
            scheme="http" if self._listener.tls is None else "https",
            port=self._listener.address.port,
            claims=serving.claims,
        )

    async def run(self) -> None:
        self._stream.keep_alive(user_timeout=_USER_TIMEOUT)
        with self._drain.telling(self._stop_waiting):
            await self._serve_requests()

    async def _serve_requests(self) -> None:
        early = b""
        patience = self._limits.head_timeout
        while True:
            try:
                received = await self._receive_head(early, patience)
            except GatewayError as error:
                await self._refuse(error)
                return
            if received is None:
                await self._stream.aclose()
                return
            head, early, size = received
            serving = self._current()
            if serving is not self._serving:  # there was a reload
                self._take(serving)
            exchange = Exchange(
                head,
                self._stream,
                listener=self._listener,
                provenance=self._trust.provenance(head),
                request_id=self._trust.request_id(head.headers),
                trace=trace_of(head.headers, serving.trace_context, trusted=self._trust.trusted),
                limits=self._limits,
                early=early,
                drain=self._drain,
                on_upgrade=self._record,
            )
            if 0 < self._limits.head_warning <= size and not self._warned:
                self._warn_of_size(exchange, size)
            await self._serve(exchange)
            if exchange.upgraded:
                return
            if not (exchange.reusable and await exchange.drain()):
                await self._close(exchange)
                return
            early = exchange.rest
            patience = self._limits.idle_timeout

    # -- heads -------------------------------------------------------------------------------------

    async def _receive_head(
        self, early: bytes, patience: float
    ) -> tuple[RequestHead, bytes, int] | None:
        """Return the next head, what came after it and its size; None when the client is done.

        ``patience``: seconds until its first byte. Raises what the gate does, and RequestTimeout.
        """
        reader = RequestHeadReader(self._limits.head)
        data = early
        until = trio.current_time() + patience
        while True:
            if data:
                began = reader.started
                head = reader.receive_data(data)
                if head is not None:
                    return head, reader.trailing_data, reader.size
                if reader.started and not began:
                    until = trio.current_time() + self._limits.head_timeout
            try:
                if reader.started:
                    data = await self._stream.receive_some(until=until)
                else:
                    data = await self._receive_first(until)
            except StreamBroken as error:
                self._log_broken(str(error), in_head=reader.started)
                return None
            except ReceiveInterrupted:
                if not reader.started:
                    return None
                raise RequestTimeout(
                    detail=f"no whole head in {self._limits.head_timeout:g} s"
                ) from None
            if not data:
                if reader.started:
                    self._log_broken("it ended in the middle of a head", in_head=True)
                return None

    def _log_broken(self, reason: str, *, in_head: bool) -> None:
        """Say how a connection ended; a reset between requests is how many programs leave."""
        if in_head or self._stream.tls is not None:
            _log.info("connection broken", **self._stream.peer.as_fields(), reason=reason)

    async def _receive_first(self, until: float) -> bytes:
        """Receive where no request has begun: stopping ends that like the client's own end."""
        if self._drain.begun:
            return b""
        self._idle = True
        try:
            return await self._stream.receive_some(until=until)
        finally:
            self._idle = False

    def _stop_waiting(self) -> None:
        """Stopping has begun; what is under way may go on."""
        if self._idle:
            self._stream.interrupt()

    async def _refuse(self, error: GatewayError) -> None:
        """Answer what never became a request, and close: nobody knows where the next one begins."""
        request_id = new_request_id()
        self._log(error, request_id)
        status, fields, body = error_answer(error, request_id)
        self._serving.meters.refused(error)
        self._write_record(
            request_id, lambda: refusal_record(self._stream, self._listener, error, request_id)
        )
        fields += [(b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
        answer = write_response_head(status, reason_of(status), fields) + body
        with trio.move_on_after(self._limits.send_timeout):
            with suppress(StreamBroken):  # nobody there to be told
                await self._stream.send_all(answer)
        await self._linger()

    def _warn_of_size(self, exchange: Exchange, size: int) -> None:
        """Name what makes a head large before the controller refuses it without a word."""
        self._warned = True
        name, value = max(exchange.request.headers, key=lambda each: len(each[0]) + len(each[1]))
        _log.warning(
            "request head is near the 8 KiB that Jenkins takes; beyond, it answers 431",
            client=exchange.client_address,
            error_id=exchange.request_id,
            bytes=size,
            largest_field=name[:64].decode("ascii"),
            largest_field_bytes=len(name) + len(value) + 4,
        )

    # -- exchanges ---------------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange) -> None:
        """Have one exchange handled; afterwards it is answered, upgraded or cut."""
        error = await _attempt(self._dispatch(exchange))
        if error is not None:
            self._log(error, exchange.request_id, exchange)
            bug = await _attempt(self._fail(exchange, error))
            if bug is not None:
                self._log(bug, exchange.request_id, exchange)
                exchange.abort()
        self._record(exchange, error)

    def _record(self, exchange: Exchange, error: Exception | None = None) -> None:
        """Write the line of an exchange, once: for an upgrade that is when it happens."""
        if self._recorded is exchange:
            return
        self._recorded = exchange
        self._serving.meters.answered(exchange, error)
        if self._access.enabled:
            self._write_record(exchange.request_id, lambda: record_of(exchange, error))

    def _write_record(self, request_id: str, record: Callable[[], AccessRecord]) -> None:
        """Write a line. A bug in what is only said of a request does not end it."""
        try:
            self._access.write(record())
        except Exception as error:
            _log.error("internal error", error_id=request_id, exc_info=error)

    async def _dispatch(self, exchange: Exchange) -> None:
        if self._serving.demand != self._proved:
            # 421: a client may repeat any request on another connection (RFC 9110, 15.5.20).
            text = "the rules for certificates have changed, connect again"
            raise RemoteProtocolError(text, status_hint=421)
        if self._router is not None and await self._route(exchange, self._router):
            return
        exchange.check_length()
        await self._handle(exchange)
        if not (exchange.responded or exchange.upgraded):
            raise RuntimeError("the handler returned without an answer")

    async def _route(self, exchange: Exchange, router: Router) -> bool:
        """Find the route and see that it lets the request in; True where that is answered here."""
        request = exchange.request
        match = router.match(request.headers.get(b"host"), request.target)
        check_exposure(match, request, exchange.client_address)
        exchange.match = match
        location = https_location(exchange)
        if location is not None:
            await exchange.respond(REDIRECT_STATUS, [(b"Location", location)])
        return location is not None

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        if exchange.started or isinstance(error, ClientGone):
            exchange.abort()
            return
        status, fields, body = error_answer(error, exchange.request_id)
        own = self._error_headers(exchange)
        replaced = {name.lower() for name, _ in own}
        if b"x-cli-error" in replaced:  # all that is shown; over TLS a body throws the client off
            replaced.add(b"content-type")
            body = b""
        fields = [field for field in fields if field[0].lower() not in replaced] + own
        close = isinstance(error, RemoteProtocolError) or not isinstance(error, GatewayError)
        try:
            await exchange.respond(status, fields, body, close=close)
        except (ClientGone, Stalled):
            exchange.abort()

    def _error_headers(self, exchange: Exchange) -> list[Field]:
        """Return the exchange's own fields for errors, and an agent's cookie where that lacks.

        Every refusal gives an agent its cookie back, or the agent forgets it (PROTOCOLS K.1). The
        endpoint does so itself, this is for errors on the way to it.
        """
        fields = exchange.error_headers
        names = {name.lower() for name, _ in fields}
        cookies = exchange.request.headers.get_all(b"connection-cookie")
        if exchange.routed or len(cookies) != 1 or b"connection-cookie" in names:
            return fields
        if not is_cookie(cookies[0]):
            return fields
        return [*fields, (b"Connection-Cookie", cookies[0])]

    def _log(self, error: Exception, error_id: str, exchange: Exchange | None = None) -> None:
        level = outcome_of(error).level
        fields: dict[str, object] = {"error_id": error_id}
        if exchange is None:
            fields |= self._stream.peer.as_fields()
        else:
            fields |= {"client": exchange.client_address, **exchange.trace_fields()}
            fields["method"] = exchange.request.method.decode("ascii")
            fields["path"] = redact_path(exchange.request.path)[:_MAX_PATH]
            if exchange.routed:
                fields["controller"] = exchange.match.controller_id
                if exchange.match.endpoint is Endpoint.AGENTS:
                    node = exchange.request.headers.get(b"node-name") or b""
                    fields["node"] = node[:_MAX_NODE].decode("latin-1")
        if not isinstance(error, GatewayError):
            _log.error("internal error", **fields, exc_info=error)
            return
        fields["status"] = outcome_of(error).status
        fields["reason"] = str(error)
        text = "request failed" if level == "error" else "request refused"
        getattr(_log, level)(text, **fields)

    # -- the end -----------------------------------------------------------------------------------

    async def _close(self, exchange: Exchange) -> None:
        if self._stream.broken is not None:
            self._stream.abort()
        elif exchange.request_received and not exchange.rest:
            await self._stream.aclose()
        else:
            await self._linger()

    async def _linger(self) -> None:
        """Close after reading on for a moment, so that the answer is not lost to a reset."""
        left, pause = self._limits.linger, self._limits.linger_timeout
        with trio.move_on_after(self._limits.linger_time):
            try:
                await self._stream.send_eof()
                while left > 0:
                    data = await self._stream.receive_some(until=trio.current_time() + pause)
                    if not data:
                        break
                    left -= len(data)
            except (StreamBroken, ReceiveInterrupted):
                pass  # the client did not want to hear more, or has said all
        await self._stream.aclose()
