"""The status page among the routes of the admin listener.

Owns: its addresses, and the way from a request to the page and back; sending a stream of events.

Must not know: what pages hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from gateway.errors import ClientGone, Stalled
from gateway.http.exchange import Exchange
from gateway.server.admin.messages import AdminRequest, Answer
from gateway.server.admin.page.live import PATIENCE
from gateway.server.admin.page.pages import Request, StatusPage
from gateway.server.admin.page.query import fields_of
from gateway.server.admin.routes import Access, Parameter, Route, RouteHandler

_FORM: Final = ("application/x-www-form-urlencoded",)
_FILE: Final = Parameter("name", "A file.", in_path=True)


def page_routes(page: StatusPage) -> tuple[Route, ...]:
    """Return the routes of the page. None of them is in the API's document."""

    async def static(request: AdminRequest) -> Answer:
        return page.static(request.path["name"], read(request))

    async def events(request: AdminRequest) -> Answer | None:
        return await _send_events(page, request)

    return (
        _get("/", "getStatusPage", _handler(page.status)),
        _get("/node", "getNodePage", _handler(page.node)),
        _get("/kick", "getKickQuestion", _handler(page.ask_to_kick)),
        _post("/kick", "postKick", _handler(page.kick)),
        _get("/login", "getLogin", _handler(page.login_form)),
        _post("/login", "postLogin", _handler(page.login)),
        _post("/logout", "postLogout", _handler(page.logout)),
        Route(
            "GET",
            "/static/{name}",
            "getFile",
            "A file of the status page",
            static,
            parameters=(_FILE,),
            access=Access.BROWSER,
        ),
        Route(
            "GET",
            "/events",
            "getEvents",
            "What changes on the status page",
            events,
            access=Access.BROWSER,
            streams=True,
        ),
    )


def read(request: AdminRequest) -> Request:
    """Return what the page needs to know of a request."""
    exchange = request.exchange
    _, _, query = exchange.request.target.decode("latin-1").partition("?")
    fields: dict[str, str] = {}
    for name, value in exchange.request.headers:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        # HTTP allows one Cookie field; of the others only the last could be meant.
        fields[key] = f"{fields[key]}; {text}" if key == "cookie" and key in fields else text
    return Request(
        query=query,
        fields=fields,
        form=fields_of(request.data.decode("latin-1")),
        secure=exchange.scheme == "https",
        token=request.token,
        caller=request.caller,
    )


def _handler(answer: Callable[[Request], Awaitable[Answer]]) -> RouteHandler:
    async def handle(request: AdminRequest) -> Answer:
        return await answer(read(request))

    return handle


def _get(path: str, operation: str, handle: RouteHandler) -> Route:
    return Route("GET", path, operation, "The status page", handle, access=Access.BROWSER)


def _post(path: str, operation: str, handle: RouteHandler) -> Route:
    return Route(
        "POST",
        path,
        operation,
        "The status page",
        handle,
        access=Access.BROWSER,
        content_types=_FORM,
    )


async def _send_events(page: StatusPage, request: AdminRequest) -> Answer | None:
    exchange = request.exchange
    place = page.watch(read(request))
    if isinstance(place, Answer):
        return place
    answer = Answer(
        content_type="text/event-stream",
        body=b" ",  # that there is one; it is sent below
        # nginx would keep events until a buffer is full.
        headers=((b"X-Accel-Buffering", b"no"),),
    )
    with place as viewer:
        exchange.queue_head(200, b"OK", answer.fields, length=None, close=True)
        if exchange.request.method == b"HEAD":
            exchange.queue_end()
            await exchange.flush()
            return None
        try:
            async with exchange.cancel_if_client_leaves():
                # With another token the login is over, and so is what was let in by it.
                while (data := await viewer.next()) is not None and not request.is_over():
                    exchange.queue_body(data)
                    await _flush(exchange)
                exchange.queue_end()
                await _flush(exchange)
        except ClientGone:
            # What has no end is whole when its reader leaves. It is no line in the log: every
            # click on the page is one.
            exchange.abort()
            exchange.responded = True
    return None


async def _flush(exchange: Exchange) -> None:
    """Send what is queued. Raises Stalled for a viewer that does not read: it may come back."""
    with trio.move_on_after(PATIENCE):
        await exchange.flush()
        return
    raise Stalled(detail=f"the viewer did not read for {PATIENCE:g} s")
