"""Bind listening sockets and turn what arrives into streams.

Owns: socket options of listeners, accepting (with a pause when descriptors run out), the TLS
handshake of the agents' and browsers' side and its deadline.

Must not know: HTTP, routes, sessions. What happens with a stream is the handler's matter.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from gateway.config.models import ListenerConfig
from gateway.errors import ConfigError
from gateway.protocol.tls import TlsEngine
from gateway.transport.stream import Stream, StreamBroken
from gateway.transport.tls_context import ServerContexts

# The kernel caps it at net.core.somaxconn (4096 on current Linux); a storm of returning agents
# needs room.
BACKLOG: Final = 4096
# From accept to the end of the TLS handshake; nginx and HAProxy examples allow 10 s.
TLS_HANDSHAKE_TIMEOUT: Final = 10.0

StreamHandler = Callable[[Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A configured listener with its listening socket."""

    config: ListenerConfig
    socket: trio.socket.SocketType

    @property
    def port(self) -> int:
        """The port it really listens on, also where the configuration said 0."""
        return int(self.socket.getsockname()[1])


def bind(config: ListenerConfig) -> socket.socket:
    """Bind and listen on the address of ``config``. Raises ConfigError with the reason."""
    try:
        info = socket.getaddrinfo(
            config.address.host,
            config.address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        sock = socket.socket(info[0], info[1], info[2])
    except OSError as error:
        raise ConfigError(f"listener {config.address}: {error.strerror}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if info[0] == socket.AF_INET6:
            # "[::]" serves both families, as nginx's ipv6only=off and HAProxy's v4v6 do.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(info[4])
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(f"listener {config.address}: {error.strerror}") from None
    return sock


async def accept_forever(
    listener: BoundListener,
    handle: StreamHandler,
    nursery: trio.Nursery,
    *,
    handshake_failed: Callable[[Stream, str], None],
) -> None:
    """Accept on ``listener`` and run ``handle`` for each stream in ``nursery`` until cancelled.

    ``handle`` gets a stream whose TLS handshake is done; its socket is closed when ``handle``
    returns. A connection that fails its handshake is reported to ``handshake_failed`` and closed,
    never more.
    """
    contexts = None if listener.config.tls is None else ServerContexts(listener.config.tls)

    async def serve(connection: trio.SocketStream) -> None:
        stream = Stream(connection.socket)
        if contexts is not None:
            problem = await _handshake(stream, contexts)
            if problem is not None:
                handshake_failed(stream, problem)
                return
        await handle(stream)

    # trio's loop pauses 100 ms when accept says EMFILE, ENFILE, ENOBUFS or ENOMEM, and goes on.
    await trio.serve_listeners(
        serve, [trio.SocketListener(listener.socket)], handler_nursery=nursery
    )


async def _handshake(stream: Stream, contexts: ServerContexts) -> str | None:
    """Do the server's side of the TLS handshake; return the problem, or None."""
    engine = TlsEngine(contexts.entry, server_side=True)
    with trio.move_on_after(TLS_HANDSHAKE_TIMEOUT):
        try:
            await stream.start_tls(engine)
        except StreamBroken as error:
            return str(error)
        return None
    return f"no TLS handshake within {TLS_HANDSHAKE_TIMEOUT:g} s"
