"""The CLI's endpoint: which requests are the CLI's, and which way each goes.

Owns: telling the CLI from everything else, the checks before a controller is asked, the choice
between relay and translation, and ``X-CLI-Error``: the only words of a refusal that the client
shows (PROTOCOLS E.2, K.4).

Must not know: frames of either kind, how requests are forwarded.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import (
    ClientGone,
    ControllerAnswered,
    ControllerUnreachable,
    GatewayError,
    NotAuthorized,
    RemoteProtocolError,
    RouteNotFound,
    public_text,
)
from gateway.http.connection import error_text
from gateway.http.exchange import Exchange
from gateway.http.forwarding import response_fields
from gateway.http.proxy import Proxy
from gateway.http.upstream import Upstream, Upstreams
from gateway.http.websocket_accept import accept_websocket
from gateway.http.websocket_relay import LiveSessions
from gateway.http.websocket_upgrade import (
    UpgradeAnswer,
    WebSocketUpgrades,
    check_request,
    check_route,
)
from gateway.jenkins_cli.audit import Caller, CommandAudit
from gateway.jenkins_cli.full_duplex import FullDuplex, open_full_duplex
from gateway.jenkins_cli.origin import check_origin, outgoing_origin
from gateway.jenkins_cli.pairs import (
    DownloadTap,
    Pair,
    Pairs,
    UploadTap,
    is_download,
    session_of,
)
from gateway.jenkins_cli.policy import Command, Policy, Rules, user_of
from gateway.jenkins_cli.probe import CLI_ERROR, refuses_origin, remedy
from gateway.jenkins_cli.translation import TranslatedSession
from gateway.jenkins_cli.transports import CliTransports, lacks_websocket
from gateway.observability.logs import get_logger
from gateway.protocol.cli_relay import CliFrameScanner
from gateway.protocol.http_headers import Field
from gateway.protocol.plain_cli import MAX_MESSAGE

_log = get_logger("session")

_SEPARATORS: Final = re.compile(rb"[/\\;]+")
_CLI: Final = frozenset({b"cli"})
_DECODINGS: Final = 3  # as the router's: nothing between us and Stapler decodes more
_JUDGED: Final = (401, 403)  # by a controller that does have the CLI


class CliEndpoint:
    """Serves the CLI of all controllers of one configuration."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        upstreams: Upstreams,
        proxy: Proxy,
        upgrades: WebSocketUpgrades,
        transports: CliTransports,
        pairs: Pairs,
        sessions: LiveSessions,
    ) -> None:
        self._keepalive = config.agents.keepalive
        self._upstreams = upstreams
        self._proxy = proxy
        self._upgrades = upgrades
        self._transports = transports
        self._pairs = pairs
        self._sessions = sessions
        self._policies = {
            name: Policy(controller.cli.policy)
            for name, controller in config.controllers.items()
            if controller.cli.policy is not None
        }

    def claims(self, exchange: Exchange) -> bool:
        """Say whether this is a client of the CLI, by whatever path; pages about it are not.

        A ``POST`` with ``Side`` is one wherever it goes: nothing else sends that, and Jenkins has
        more paths to its CLI than anybody knows. Some of them do not even say ``cli``
        (``/extensionList/...``), but each has to say ``ws``; so where commands are read, every
        such path is the CLI's.
        """
        request = exchange.request
        if request.method == b"POST":
            return b"side" in request.headers or self._is_at(exchange, b"/cli")
        if b"upgrade" not in request.headers:
            return False
        inspects = exchange.match.controller.cli.inspects
        return _leads_to_websocket(request.path, whose=frozenset() if inspects else _CLI)

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request that ``claims`` has claimed.

        Raises what ``Proxy.forward`` does, OriginRefused and ControllerAnswered; the error's answer
        has an ``X-CLI-Error`` then.
        """
        try:
            upstream = self._upstreams.get(exchange.match.controller_id)
            if upstream is None:
                raise RouteNotFound()
            if exchange.request.method == b"POST":
                await self._serve_half(exchange, upstream)
            else:
                await self._serve_websocket(exchange, upstream)
        except GatewayError as error:
            if not exchange.started:
                exchange.error_headers.append((CLI_ERROR, error_text(public_text(error))))
            if isinstance(error, ControllerAnswered):
                exchange.error_headers += error.fields
            raise

    def _is_at(self, exchange: Exchange, path: bytes) -> bool:
        return exchange.request.path == exchange.match.prefix.encode() + path

    # -- WebSockets --------------------------------------------------------------------------------

    async def _serve_websocket(self, exchange: Exchange, upstream: Upstream) -> None:
        if not (self._is_at(exchange, b"/cli/ws") or self._is_at(exchange, b"/cli/ws/")):
            raise RemoteProtocolError("the path of the CLI must be written plainly")
        check_request(exchange)
        check_route(exchange)
        check_origin(exchange)
        try:
            await self._serve_client(exchange, upstream)
        except ControllerUnreachable as error:
            error.for_agents = True  # they are no agents, but it is the same answer
            raise

    async def _serve_client(self, exchange: Exchange, upstream: Upstream) -> None:
        """Relay or translate, by what the controller has."""
        match = exchange.match
        name, controller = match.controller_id, match.controller
        with self._upgrades.place(exchange):
            if self._transports.goes_by_http(name, controller):
                await self._translate(exchange, upstream, instead_of=None)
                return
            origin = outgoing_origin(exchange, controller)
            answer = await self._upgrades.ask(
                exchange, upstream, [(b"Origin", origin)], [b"sec-websocket-extensions"]
            )
            if answer.accepted:
                await self._upgrades.run(exchange, answer, CliFrameScanner)
                return
            if controller.cli.transport == "auto" and lacks_websocket(answer.head):
                answer.connection.close()
                await self._translate(exchange, upstream, instead_of=answer.head.status)
                return
        fields = _refusal_fields(exchange, answer, origin)
        await self._upgrades.refuse(exchange, answer, fields)

    async def _translate(
        self, exchange: Exchange, upstream: Upstream, *, instead_of: int | None
    ) -> None:
        """Run the client's command by full-duplex HTTP; ``instead_of`` what an upgrade got."""
        match = exchange.match
        name, controller = match.controller_id, match.controller
        try:
            pair = await self._open(exchange, upstream)
        except GatewayError as error:
            if not (isinstance(error, ControllerAnswered) and error.status in _JUDGED):
                self._transports.forget(name)
            raise
        try:
            if instead_of is not None:
                self._transports.found_http(name, controller, because=instead_of)
            user = user_of(exchange.request.headers)
            caller = Caller(exchange.request_id, name, exchange.client_address, user, "cli-http")
            async with accept_websocket(exchange, max_message=MAX_MESSAGE) as client:
                session = TranslatedSession(
                    client,
                    pair,
                    Command(self._rules(name, user)),
                    caller=caller,
                    audit=CommandAudit(controller.cli.audit, caller),
                    keepalive=self._keepalive,
                    route=match.route.id,
                )
                with self._sessions.register(session):
                    await session.run()
        finally:
            pair.close()

    async def _open(self, exchange: Exchange, upstream: Upstream) -> FullDuplex:
        pair: FullDuplex | None = None
        until = trio.current_time() + exchange.match.route.response_timeout
        try:
            async with exchange.cancel_if_client_leaves():
                pair = await open_full_duplex(exchange, upstream, until=until)
        except BaseException:  # such as the client's leaving when the answer is in
            if pair is not None:
                pair.close()
            raise
        assert pair is not None, "neither a pair nor an error"
        return pair

    def _rules(self, name: str, user: str | None) -> Rules | None:
        policy = self._policies.get(name)
        return None if policy is None else policy.rules_for(user)

    # -- full-duplex HTTP --------------------------------------------------------------------------

    async def _serve_half(self, exchange: Exchange, upstream: Upstream) -> None:
        """Forward one half of a pair, both to the same address."""
        request, match = exchange.request, exchange.match
        if not self._is_at(exchange, b"/cli"):
            if match.controller.cli.inspects:
                raise NotAuthorized(detail="the CLI by a path that is not its own, past the policy")
            await self._proxy.forward(exchange)
            return
        if request.target.partition(b"?")[2] != b"remoting=false":
            raise NotAuthorized(detail="POST to the CLI without ?remoting=false")
        session = session_of(request.headers)
        if is_download(request.headers):
            await self._serve_download(exchange, session)
        else:
            await self._serve_upload(exchange, session, upstream)

    async def _serve_download(self, exchange: Exchange, session: str) -> None:
        name, controller = exchange.match.controller_id, exchange.match.controller
        headers = exchange.request.headers
        # With a cookie's login Jenkins may not look at any other.
        user = None if b"cookie" in headers else user_of(headers)
        audit: CommandAudit | None = None
        if controller.cli.audit != "off":
            audit = CommandAudit(controller.cli.audit, _caller(exchange, session, user))
        with self._pairs.place(name, session) as add:
            tap = DownloadTap(lambda address: add(Pair(name, address, user, audit)), audit)
            try:
                await self._proxy.forward(exchange, tap)
            finally:
                if audit is not None and exchange.status == 200:
                    audit.ended(tap.exit_code)

    async def _serve_upload(self, exchange: Exchange, session: str, upstream: Upstream) -> None:
        name, controller = exchange.match.controller_id, exchange.match.controller
        pair = self._pairs.known(name, session)
        if pair is None and (controller.cli.inspects or upstream.has_choice):
            pair = await self._pairs.find(name, session)
        if not controller.cli.inspects:
            tap = UploadTap(None if pair is None else pair.address)
        elif pair is None:
            # Whose command it is would be anybody's guess, and with it which rules are right.
            raise RouteNotFound("no download side found", detail=f"for CLI session {session}")
        else:
            caller = _caller(exchange, session, pair.user)
            audit = pair.audit or CommandAudit(controller.cli.audit, caller)
            tap = UploadTap(pair.address, self._rules(name, pair.user), audit, reads=True)
        try:
            await self._proxy.forward(exchange, tap)
        except ClientGone as error:
            error.quiet = True  # at EXIT a client just leaves, with its upload still open
            raise


def _caller(exchange: Exchange, session: str, user: str | None) -> Caller:
    match = exchange.match
    return Caller(session, match.controller_id, exchange.client_address, user, "http")


def _leads_to_websocket(path: bytes, *, whose: frozenset[bytes]) -> bool:
    """Say whether Jenkins may read ``path`` as that of a ``ws`` that is ``whose``."""
    if b"ws" not in path and b"%" not in path:
        return False
    for _ in range(_DECODINGS):
        path = unquote_to_bytes(path)
    names = _SEPARATORS.split(path)
    return b"ws" in names and whose.issubset(names)


def _refusal_fields(exchange: Exchange, answer: UpgradeAnswer, origin: bytes) -> list[Field]:
    """Return the fields of a controller's refusal, with an ``X-CLI-Error`` that helps.

    That is all the client shows, and controllers before 2.485 have none.
    """
    head = answer.head
    fields = response_fields(head)
    name = exchange.match.controller_id
    said = head.headers.get(CLI_ERROR)
    text = f"the controller answered {head.status}" if said is None else said.decode("latin-1")
    if said is None and head.status == 401:
        text = "the controller does not accept these credentials"
    if said is None and head.status == 404:
        text = f"the controller has no /cli/ws (controllers.{name}.cli.transport: auto translates)"
    shown = origin.decode("latin-1")
    if refuses_origin(head):
        text += f"; gateway: {remedy(name)}"
        _log.warning(
            "the controller refuses the origin of CLI clients",
            controller=name,
            origin=shown,
            remedy=remedy(name),
        )
    elif said is None and head.status == 403:
        text += f"; if it is for the origin {shown}, {remedy(name)}"
    fields = [field for field in fields if field[0].lower() != CLI_ERROR.lower()]
    return [*fields, (CLI_ERROR, error_text(text))]
