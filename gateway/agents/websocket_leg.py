"""The other controller leg: an agent's upgrade, made again at a controller that speaks WebSocket.

Owns: what the controller is sent (the agent's fields, the granted secret), what its failures mean
to an agent, and the session that follows.

Must not know: checks and credentials (``endpoint``), frames (``http.websocket_relay``).

Nothing is added to the answer but the cookie: 101 carries the controller's capability, cookie and
minimum version as they are, and a refusal its own words. A refusal's page is read before it is
passed on: whether the node is already connected decides what happens next.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from gateway.agents.jnlp4_leg import FAILED_TO_DISCONNECT, already_connected
from gateway.agents.session_meters import SessionMeters
from gateway.agents.transport import Transports
from gateway.config.models import GatewayConfig
from gateway.errors import AlreadyConnected, ControllerTimeout, ControllerUnreachable
from gateway.http.exchange import Exchange
from gateway.http.forwarding import response_fields
from gateway.http.upstream import Upstreams
from gateway.http.websocket_relay import RelayLimits, RelaySession
from gateway.http.websocket_upgrade import UpgradeAnswer, accept, ask, refuse, upgrade_request
from gateway.observability.logs import get_logger
from gateway.protocol.cookie import is_cookie
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Field
from gateway.runtime.ended_session import EndedSession
from gateway.runtime.session_end import Side

_log = get_logger("session")

# So much before the handshake's own deadline the controller's time is over: that deadline would
# only cancel, as an agent's leaving does, and nobody would be blamed.
_RESERVE: Final = 0.1
_COOKIE: Final = b"connection-cookie"
# 400 since core 2.511, 500 before (PROTOCOLS A.3 row 6).
_REFUSALS: Final = (400, 500)
# Jenkins' own error page has some 10 KB.
_MAX_PAGE: Final = 64 * 1024
# An error page, as Jetty heads it or not, or before core 2.511 the page of an exception.
_FAILED: Final = re.compile(
    r"(?:^|[>\n]|Exception: )[ \t]*(?:HTTP ERROR [45][0-9][0-9] )?"
    rf"{re.escape(FAILED_TO_DISCONNECT)}[ \t\r]*(?:[<\n]|$)"
)


class WebSocketLegs:
    """Opens and runs relayed sessions of agents."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        upstreams: Upstreams,
        transports: Transports,
        generation: int = 0,
        on_end: Callable[[EndedSession], None] = lambda ended: None,
        meters: SessionMeters | None = None,
    ) -> None:
        self._meters = SessionMeters() if meters is None else meters
        self._upstreams = upstreams
        self._transports = transports
        self._generation = generation
        self._on_end = on_end
        self._limits = RelayLimits.of(config)

    async def ask(
        self, exchange: Exchange, node: str, secret: str, cookie: str | None
    ) -> UpgradeAnswer:
        """Ask the controller for a session; ``secret`` and ``cookie`` are presented there.

        Raises AlreadyConnected, ControllerUnreachable or ControllerTimeout, the last before the
        deadline that the caller has set, RemoteProtocolError for a request that must not be
        forwarded, ClientGone.
        """
        name = exchange.match.controller_id
        upstream = self._upstreams.get(name)
        assert upstream is not None, "a controller without url has no WebSocket"
        presented = [(b"Secret-Key", secret.encode("latin-1"))]
        if cookie is not None:
            presented.append((b"Connection-Cookie", cookie.encode("ascii")))
        # What the agent itself presents goes on in its own spelling.
        sent = exchange.request.headers
        replaced = [each for each in presented if sent.get(each[0]) != each[1]]
        head = upgrade_request(exchange, agent_fields=True, replaced=replaced)
        head = replace(head, target=_with_slash(head.target))
        until = trio.current_effective_deadline() - _RESERVE
        try:
            answer = await ask(exchange, upstream, head, until=until)
        except ControllerUnreachable as error:
            self._transports.forget(name)
            raise ControllerUnreachable(
                "the controller's WebSocket endpoint cannot be used",
                detail=error.detail,
                for_agents=True,
            ) from None
        except ControllerTimeout:
            self._transports.forget(name)
            raise
        status = answer.head.status
        if status == 404 or status >= 500:  # it is not there, or not now
            self._transports.forget(name)
        if status in _REFUSALS:
            answer = await _read_refusal(answer, node)
        return answer

    async def start(
        self, exchange: Exchange, answer: UpgradeAnswer, node: str
    ) -> RelaySession | None:
        """Pass the answer on; return the session to be run, or None after a refusal.

        Raises what passing it on does. Closes the controller's connection where it returns none.
        """
        names = {
            "session": exchange.request_id,
            "controller": exchange.match.controller_id,
            "node": node,
            "client": exchange.client_address,
            **exchange.trace_fields(),
        }
        if answer.accepted:
            client, controller = await accept(exchange, answer, Side.AGENT)
            return RelaySession(
                names,
                client=client,
                controller=controller,
                limits=self._limits,
                generation=self._generation,
                on_end=self._on_end,
                on_round_trip=self._meters.round_trips(exchange.match.controller_id),
            )
        names["error_id"] = names.pop("session")
        status = answer.head.status
        _log.warning("request refused", **names, status=status, reason="the controller's answer")
        await refuse(exchange, answer, _with_cookie(exchange, answer.head))
        return None


async def _read_refusal(answer: UpgradeAnswer, node: str) -> UpgradeAnswer:
    """Return the answer with the beginning of its page. Raises AlreadyConnected if that is it.

    The connection is closed then, and where reading fails.
    """
    connection = answer.connection
    page = b""
    try:
        while len(page) < _MAX_PAGE and (data := await connection.receive_body()):
            page += data
    except BaseException:
        connection.close()
        raise
    said = _already_connected(page.decode("utf-8", "replace"), node)
    if said is None:
        return replace(answer, beginning=page)
    connection.close()
    raise AlreadyConnected(said)


def _already_connected(page: str, node: str) -> str | None:
    """Return the sentence by which a page says that the node is already connected, or None.

    All of it, node and spaces included: a page may well quote what a stranger sent.
    """
    for name in (node, html.escape(node), html.escape(node, quote=False)):
        for written, said in zip(already_connected(name), already_connected(node), strict=True):
            if written in page:
                return said
    # All that a line or an element says, and nothing that could be the node's name, or a target's.
    if FAILED_TO_DISCONNECT not in node and _FAILED.search(page):
        return FAILED_TO_DISCONNECT
    return None


def _with_slash(target: bytes) -> bytes:
    """Return the target as agents write it: to one without the slash Jenkins answers a redirect,
    which they do not follow.
    """
    path, mark, query = target.partition(b"?")
    return path.removesuffix(b"/") + b"/" + mark + query


def _with_cookie(exchange: Exchange, head: ResponseHead) -> list[Field]:
    """Return a refusal's fields with the cookie that the agent would forget otherwise (PROTOCOLS
    A.5): the controller's if what is passed on has a usable one, else the agent's own.
    """
    fields = response_fields(head)
    if any(_is_cookie_field(name) and is_cookie(value) for name, value in fields):
        return fields
    echo = [each for each in exchange.error_headers if _is_cookie_field(each[0])]
    if not echo:
        return fields
    # An agent takes the first that it finds.
    return [*(each for each in fields if not _is_cookie_field(each[0])), *echo]


def _is_cookie_field(name: bytes) -> bool:
    return name.lower() == _COOKIE
