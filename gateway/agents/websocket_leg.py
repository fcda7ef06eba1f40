"""The other controller leg: an agent's upgrade, made again at a controller that speaks WebSocket.

Owns: what the controller is sent (the agent's fields, the granted secret), what its failures mean
to an agent, and the session that follows.

Must not know: checks and credentials (``endpoint``), frames (``http.websocket_relay``).

Nothing is added to the answer but the cookie: 101 carries the controller's capability, cookie and
minimum version as they are, and a refusal its own words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from gateway.agents.transport import Transports
from gateway.config.models import GatewayConfig
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.exchange import Exchange
from gateway.http.forwarding import response_fields
from gateway.http.upstream import Upstreams
from gateway.http.websocket_relay import RelayLimits, RelaySession
from gateway.http.websocket_upgrade import UpgradeAnswer, accept, ask, refuse, upgrade_request
from gateway.observability.logs import get_logger
from gateway.protocol.cookie import is_cookie
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Field
from gateway.runtime.session_end import Side

_log = get_logger("session")

# So much before the handshake's own deadline the controller's time is over: that deadline would
# only cancel, as an agent's leaving does, and nobody would be blamed.
_RESERVE: Final = 0.1
_COOKIE: Final = b"connection-cookie"


class WebSocketLegs:
    """Opens and runs relayed sessions of agents."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        upstreams: Upstreams,
        transports: Transports,
    ) -> None:
        self._upstreams = upstreams
        self._transports = transports
        self._limits = RelayLimits.of(config)

    async def ask(self, exchange: Exchange, secret: str) -> UpgradeAnswer:
        """Ask the controller for a session; ``secret`` is the one to present there.

        Raises ControllerUnreachable or ControllerTimeout, the latter before the deadline that the
        caller has set, RemoteProtocolError for a request that must not be forwarded, ClientGone.
        """
        name = exchange.match.controller_id
        upstream = self._upstreams.get(name)
        assert upstream is not None, "a controller without url has no WebSocket"
        replaced = (b"Secret-Key", secret.encode("latin-1"))
        if exchange.request.headers.get(b"secret-key") == replaced[1]:
            head = upgrade_request(exchange, agent_fields=True)  # in the agent's own spelling
        else:
            head = upgrade_request(exchange, agent_fields=True, replaced=[replaced])
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
        }
        if answer.accepted:
            client, controller = await accept(exchange, answer, Side.AGENT)
            return RelaySession(names, client=client, controller=controller, limits=self._limits)
        names["error_id"] = names.pop("session")
        status = answer.head.status
        _log.warning("request refused", **names, status=status, reason="the controller's answer")
        await refuse(exchange, answer, _with_cookie(exchange, answer.head))
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
