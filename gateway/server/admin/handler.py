"""From an exchange to a route and back.

Owns: the order in which a request is judged (name, route, token, origin, body), and that whatever
goes wrong becomes problem JSON.

Must not know: what routes do.

An unknown path is told from a known one only to those who may ask: the token comes first.
"""

from __future__ import annotations

from typing import Final

import trio

from gateway.errors import ClientGone, GatewayError, RemoteProtocolError, Stalled, outcome_of
from gateway.http.exchange import Exchange
from gateway.observability.logs import get_logger
from gateway.runtime.floods import FloodLog
from gateway.server.admin.authentication import Authentication
from gateway.server.admin.messages import AdminRequest, Answer, Problem
from gateway.server.admin.origins import Names, check_same_origin
from gateway.server.admin.routes import Access, Route, Routes

_log = get_logger("system")

MOST_BODY: Final = 64 * 1024  # bytes
BODY_LIMIT: Final = 20.0  # seconds, for all of it
# The slowest of all is a reload, in which each of two rounds may take a worker 30 s.
LIMIT: Final = 120.0  # seconds


class AdminHandler:
    """Answers requests by one configuration."""

    __slots__ = ("_authentication", "_names", "_refused", "_routes")

    def __init__(
        self, routes: Routes, authentication: Authentication, names: Names, refused: FloodLog
    ) -> None:
        self._routes = routes
        self._authentication = authentication
        self._names = names
        self._refused = refused

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises what the connection turns into an end."""
        answer: Answer | None
        try:
            answer = await self._answer(exchange)
            if answer is not None:  # pages say no in words of their own
                self._tell_refusal(exchange, answer.status, "refused by the status page")
        except Problem as problem:
            answer = problem.answer(exchange.request_id)
            self._tell_refusal(exchange, problem.status, problem.detail)
        except (ClientGone, Stalled):
            raise
        except GatewayError as error:
            status = outcome_of(error).status or 500
            close = isinstance(error, RemoteProtocolError)
            answer = Problem(status, "bad-request", error.public, close=close).answer(
                exchange.request_id
            )
        if answer is not None:
            await exchange.respond(answer.status, answer.fields, answer.body, close=answer.close)

    def _tell_refusal(self, exchange: Exchange, status: int, reason: str) -> None:
        if status in (401, 403, 421):
            self._refused.tell(
                client=exchange.client_address,
                error_id=exchange.request_id,
                status=status,
                reason=reason,
            )

    async def _answer(self, exchange: Exchange) -> Answer | None:
        self._names.check(exchange)
        method = exchange.request.method.decode("ascii")
        path, _, query = exchange.request.target.decode("latin-1").partition("?")
        found = self._routes.find(path)
        methods = {} if found is None else found[0]
        route = methods.get("GET" if method == "HEAD" else method)
        caller, token = exchange.client_address, None
        if route is not None and route.access is Access.BROWSER:
            caller, token = self._authentication.look(exchange)
        elif route is None or route.access is Access.PROTECTED:
            caller = self._authentication.caller(exchange)
        if found is None:
            raise Problem(404, "not-found", "there is nothing at this path")
        if route is None:
            allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
            text = f"allowed here: {allowed}"
            raise Problem(405, "bad-method", text, headers=[(b"Allow", allowed.encode())])
        body = b""
        if route.changes_something:
            check_same_origin(exchange)
            _check_content_type(exchange, route)
            body = await _read_body(exchange)
        request = AdminRequest(
            exchange,
            route.read_path(found[1]),
            route.read_query(query),
            route.read_body(body),
            caller,
            body,
            token,
            lambda: self._authentication.is_over,
        )
        return await self._within_limit(route, request)

    async def _within_limit(self, route: Route, request: AdminRequest) -> Answer | None:
        if route.streams:
            return await route.handle(request)
        with trio.move_on_after(LIMIT):
            return await route.handle(request)
        raise Problem(503, "too-slow", f"not done within {LIMIT:g} s; it may still be")


def _check_content_type(exchange: Exchange, route: Route) -> None:
    """See that no plain form of another site can be meant (a "simple" request, Fetch standard)."""
    value = exchange.request.headers.get(b"content-type") or b""
    if value.partition(b";")[0].strip().lower().decode("latin-1") not in route.content_types:
        allowed = " or ".join(route.content_types)
        raise Problem(415, "bad-content-type", f"Content-Type: allowed: {allowed}", close=True)


async def _read_body(exchange: Exchange) -> bytes:
    """Return the whole body. Raises Problem (413), and the exchange's own errors."""
    too_big = Problem(413, "too-big", f"at most {MOST_BODY} bytes", close=True)
    if (exchange.request.content_length or 0) > MOST_BODY:
        raise too_big
    if exchange.expects_continue:
        exchange.queue_informational(100, b"Continue", [])
        await exchange.flush()
    body = bytearray()
    with trio.move_on_after(BODY_LIMIT):
        while piece := await exchange.receive_body():
            body += piece
            if len(body) > MOST_BODY:
                raise too_big
        return bytes(body)
    raise Problem(408, "too-slow", f"the body took more than {BODY_LIMIT:g} s", close=True)
