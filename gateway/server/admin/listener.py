"""The admin listener: connections, and by which configuration they are served.

Owns: its limits, and that a reload takes over tokens, certificates and names at once.

Must not know: what is served (``routes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from gateway.config.admin import AdminConfig
from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import LimitExceeded
from gateway.http.client_limits import ClientLimits
from gateway.http.connection import serve_connection
from gateway.http.serving import Serving
from gateway.observability.logs import get_logger
from gateway.runtime.admission import ConnectionPlaces
from gateway.runtime.drain import Drain
from gateway.runtime.floods import FloodLog
from gateway.server.admin.authentication import Authentication
from gateway.server.admin.binding import AdminSocket
from gateway.server.admin.handler import AdminHandler
from gateway.server.admin.origins import Names
from gateway.server.admin.routes import Routes
from gateway.transport.listeners import BoundListener, Terms, accept_forever
from gateway.transport.stream import Stream

_log = get_logger("system")

# Tighter than clients' limits: who asks here is a program or one of a few people.
LIMITS: Final = ClientLimits(
    head_warning=0,
    head_timeout=10.0,
    idle_timeout=60.0,
    body_timeout=10.0,
    send_timeout=30.0,
    linger=1024 * 1024,
    linger_timeout=2.0,
    linger_time=5.0,
)
HANDSHAKE: Final = 10.0  # seconds, of TLS
_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class AdminTerms:
    """What one configuration says of the admin listener, its files read."""

    config: AdminConfig
    authentication: Authentication
    names: Names
    terms: Terms
    listener: ListenerConfig

    @classmethod
    def read(cls, config: AdminConfig) -> AdminTerms:
        """Read what ``config`` names; not in the event loop, as files may hang.

        Raises ConfigError.
        """
        address = config.listen.address or Address("localhost", 0)
        listener = ListenerConfig(address=address, tls=config.tls)
        terms = Terms.of(listener, handshake_timeout=HANDSHAKE, proxies=())
        return cls(config, Authentication(config), Names(config), terms, listener)


class AdminListener:
    """One admin listener. Without ``sock`` or ``terms`` there is none (``admin.listen: off``)."""

    def __init__(self, sock: AdminSocket | None, terms: AdminTerms | None, routes: Routes) -> None:
        self.socket = sock
        self._routes = routes
        self._refused = FloodLog(_log, "admin request refused")
        self._failed = FloodLog(_log, "admin connection failed")
        self._places = ConnectionPlaces(1, per_address=1)
        self._drain = Drain()
        self._serving: Serving
        self._terms: Terms
        self._has_terms = terms is not None
        self._authentication: Authentication | None = None
        if terms is not None:
            self.follow(terms)

    def follow(self, terms: AdminTerms) -> None:
        """Serve by ``terms`` from now on, on connections that are open, too."""
        limit = terms.config.connections
        # On this machine all have one address; beyond it nobody may shut others out.
        each = limit if terms.config.listen.is_local else max(1, limit // 4)
        self._places.change(limit, per_address=each)
        if self.socket is not None and self.socket.path is not None:
            with suppress(OSError):  # somebody took it away
                self.socket.path.chmod(int(terms.config.socket_mode, 8))
        authentication = self._agreed(terms.authentication)
        handler = AdminHandler(self._routes, authentication, terms.names, self._refused)
        self._terms = terms.terms
        self._serving = Serving(
            terms.listener, None, handler.handle, limits=LIMITS, demand=terms.terms.demand
        )

    def _agreed(self, new: Authentication) -> Authentication:
        """Return the one to go on with; what goes on for hours ends where it is another one."""
        old = self._authentication
        if old is not None and old.asks_the_same(new):
            return old
        if old is not None:
            old.is_over = True
        self._authentication = new
        return new

    async def run(self) -> None:
        """Serve until cancelled. The socket stays open: the next program may want it."""
        if self.socket is None or not self._has_terms:
            return
        _log.info("admin is serving", listeners=[self.socket.address])
        while True:
            try:
                await self._run(self.socket)
            except Exception as error:  # a bug here must not cost the sessions there are
                _log.error("internal error", exc_info=error)
                await trio.sleep(_PAUSE)

    async def _run(self, sock: AdminSocket) -> None:
        # ``accept_forever`` closes what it accepts on.
        listening = trio.socket.from_stdlib_socket(sock.socket.dup())
        with listening:
            await self._accept(listening)

    async def _accept(self, listening: trio.socket.SocketType) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refused.run)
            nursery.start_soon(self._failed.run)
            await accept_forever(
                BoundListener(self._serving.listener, listening),
                self._serve,
                nursery,
                terms=lambda: self._terms,
                handshake_failed=self._tell_failure,
                admit=self._admit,
                short_of=lambda reason: self._failed.tell(reason=reason),
            )

    async def _serve(self, stream: Stream, agreed: Terms) -> None:
        await serve_connection(
            stream, lambda: self._serving, drain=self._drain, proved=agreed.demand
        )

    @contextmanager
    def _admit(self, stream: Stream) -> Iterator[bool]:
        with ExitStack() as held:
            try:
                held.enter_context(self._places.place(stream.peer.host))
            except LimitExceeded:
                self._tell_failure(stream, "as many are open as admin.connections allows")
                yield False
                return
            yield True

    def _tell_failure(self, stream: Stream, reason: str) -> None:
        self._failed.tell(client=str(stream.peer), reason=reason)
