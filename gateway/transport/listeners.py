"""Bind listening sockets and turn what arrives into streams.

Owns: socket options of listeners, accepting (with a pause when descriptors run out), what comes
before the first request: the PROXY header, a place, the TLS handshake and its deadline.

Must not know: HTTP, routes, sessions. What happens with a stream is the handler's matter.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import trio

from gateway.config.models import ListenerConfig
from gateway.config.networks import Network
from gateway.errors import ConfigError
from gateway.transport.proxied import take_proxy_header
from gateway.transport.stream import UNKNOWN, Stream, StreamBroken
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ClientDemand, ServerContexts

# The kernel caps it at net.core.somaxconn (4096 on current Linux); a storm of returning agents
# needs room.
BACKLOG: Final = 4096
# What accept says when there is nothing left to accept with; and how long it pauses then, seconds:
# others have to end first.
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE: Final = 0.1

Admission = Callable[[Stream], AbstractContextManager[bool]]


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A configured listener with its listening socket."""

    config: ListenerConfig
    socket: trio.socket.SocketType

    @property
    def port(self) -> int:
        """The port it really listens on, also where the configuration said 0."""
        return int(self.socket.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a listener takes connections.

    ``handshake_timeout``: of TLS, seconds. ``proxies``: who may send PROXY headers, where they are
    ``introduced``.
    """

    contexts: ServerContexts | None
    handshake_timeout: float = 10.0
    introduced: bool = False
    proxies: Sequence[Network] = ()

    @property
    def demand(self) -> ClientDemand | None:
        """What clients have to prove in the handshake."""
        return None if self.contexts is None else self.contexts.demand

    @classmethod
    def of(
        cls, config: ListenerConfig, *, handshake_timeout: float, proxies: Sequence[Network]
    ) -> Terms:
        """Make the terms of a configured listener. Raises ConfigError for unusable certificates."""
        return cls(
            None if config.tls is None else ServerContexts(config.tls),
            handshake_timeout,
            config.proxy_protocol == "required",
            proxies,
        )


StreamHandler = Callable[[Stream, Terms], Awaitable[None]]


def bind(
    config: ListenerConfig,
    *,
    earlier: Sequence[ListenerConfig] = (),
    shared_port: int | None = None,
) -> socket.socket:
    """Bind and listen on the address of ``config``. Raises ConfigError with reason and remedy.

    ``earlier``: the listeners bound before, of which one may be what is in the way. With
    ``shared_port``, it is that port (0: any), and further sockets may share it (SO_REUSEPORT): they
    would be let in even where another program of this user has it, so ``check_free`` comes first.
    """
    sock = _bind(config, earlier, shared_port)
    try:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _cannot_listen(config, error, earlier) from None
    return sock


def check_free(config: ListenerConfig, *, earlier: Sequence[ListenerConfig] = ()) -> None:
    """Raise ConfigError where somebody has the address of ``config``; nothing listens meanwhile."""
    _bind(config, earlier, None).close()


def _bind(
    config: ListenerConfig, earlier: Sequence[ListenerConfig], shared_port: int | None
) -> socket.socket:
    try:
        info = socket.getaddrinfo(
            config.address.host,
            config.address.port if shared_port is None else shared_port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        sock = socket.socket(info[0], info[1], info[2])
    except OSError as error:
        raise _cannot_listen(config, error, earlier) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if info[0] == socket.AF_INET6:
            # "[::]" serves both families, as nginx's ipv6only=off and HAProxy's v4v6 do.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared_port is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(info[4])
    except OSError as error:
        sock.close()
        raise _cannot_listen(config, error, earlier) from None
    return sock


def _cannot_listen(
    config: ListenerConfig, error: OSError, earlier: Sequence[ListenerConfig]
) -> ConfigError:
    reason = (error.strerror or type(error).__name__).lower()
    remedy = _remedy(config, error, earlier)
    return ConfigError(f"listener {config.address}: {reason}. {remedy}")


def _remedy(config: ListenerConfig, error: OSError, earlier: Sequence[ListenerConfig]) -> str:
    host, port = config.address.host, config.address.port
    if isinstance(error, socket.gaierror):
        return f'Is "{host}" spelled right? Safest is an IP address, such as 0.0.0.0 for all.'
    if error.errno == errno.EADDRINUSE:
        for other in earlier:
            if other.address.port == port:
                return (
                    f"The listener {other.address} has this port already; remove one of the two,"
                    " or give it another port. ([::] stands for IPv4 too.)"
                )
        return (
            f"Another program has this port (`ss -ltnp sport = :{port}` shows which); stop it,"
            " or choose another port."
        )
    if error.errno == errno.EACCES:
        return (
            "Ports below 1024 need a privilege: give the program CAP_NET_BIND_SERVICE (systemd:"
            " AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; 0.0.0.0 or [::] stand for all it has."
    if error.errno == errno.EAFNOSUPPORT:
        return "This machine has no IPv6; 0.0.0.0 stands for all its IPv4 addresses."
    return "Choose another address."


def is_shortage(error: OSError) -> bool:
    """Say whether the system is short of descriptors or memory: later it may work."""
    return error.errno in _SHORTAGES


def _admit_everybody(stream: Stream) -> AbstractContextManager[bool]:
    return nullcontext(enter_result=True)


async def accept_forever(
    listener: BoundListener,
    handle: StreamHandler,
    nursery: trio.Nursery,
    *,
    terms: Callable[[], Terms],
    handshake_failed: Callable[[Stream, str], None],
    handshaking: Callable[[], AbstractContextManager[object]] = nullcontext,
    admit: Admission = _admit_everybody,
    introduction_failed: Callable[[Stream, str], None] | None = None,
    short_of: Callable[[str], None] | None = None,
    secured: Callable[[float], None] | None = None,
) -> None:
    """Accept on ``listener`` and run ``handle`` for each stream in ``nursery`` until cancelled.

    ``handle`` gets a stream whose TLS handshake is done; its socket is closed when ``handle``
    returns. Each connection is taken on the ``terms()`` of the moment, which ``handle`` gets too:
    others may be in force by the end of the handshake. One that fails its handshake
    is reported to ``handshake_failed`` and closed, never more. Each handshake is done inside a
    ``handshaking()``; one that this cuts short ends the connection, as does one that takes too
    long. A connection lives inside its ``admit(stream)``, from before the handshake to its end;
    False closes it at once. Where PROXY headers are required, they are taken before all that; a
    connection without a good one is reported to ``introduction_failed`` and closed. While nothing
    can be accepted for want of descriptors or memory, each try is reported to ``short_of``.
    ``secured`` is told how many seconds each successful handshake took.
    """

    async def serve(connection: trio.SocketStream) -> None:
        stream = Stream(connection.socket)
        if stream.peer == UNKNOWN:
            return  # it was reset before it was accepted
        agreed = terms()
        if agreed.introduced and not await is_introduced(stream, agreed.proxies):
            return
        with admit(stream) as admitted:
            if not admitted:
                stream.abort()  # a reset: the kernel keeps nothing of it
            elif agreed.contexts is None or await is_secured(
                stream, agreed.contexts, agreed.handshake_timeout
            ):
                await handle(stream, agreed)

    async def is_introduced(stream: Stream, proxies: Sequence[Network]) -> bool:
        done = False
        with handshaking():
            problem = await take_proxy_header(stream, proxies)
            done = problem is None
            if problem is not None and introduction_failed is not None:
                introduction_failed(stream, problem)
        return done

    async def is_secured(stream: Stream, contexts: ServerContexts, limit: float) -> bool:
        done = False
        began = trio.current_time()
        with handshaking():
            problem = await _handshake(stream, contexts, limit)
            done = problem is None
            if problem is not None:
                handshake_failed(stream, problem)
            elif secured is not None:
                secured(trio.current_time() - began)
        return done

    async def serve_and_close(connection: trio.SocketStream) -> None:
        try:
            await serve(connection)
        finally:
            connection.socket.close()

    # Not trio.serve_listeners, which logs a whole traceback at each try.
    async with trio.SocketListener(listener.socket) as listening:
        while True:
            try:
                connection = await listening.accept()
            except OSError as error:
                if not is_shortage(error):
                    raise
                if short_of is not None:
                    short_of((error.strerror or type(error).__name__).lower())
                await trio.sleep(_PAUSE)
            else:
                nursery.start_soon(serve_and_close, connection)


async def _handshake(stream: Stream, contexts: ServerContexts, limit: float) -> str | None:
    """Do the server's side of the TLS handshake; return the problem, or None."""
    engine = TlsEngine(contexts.entry, server_side=True)
    with trio.move_on_after(limit):
        try:
            await stream.start_tls(engine)
        except StreamBroken as error:
            return str(error)
        return None
    return f"no TLS handshake within {limit:g} s"
