"""A worker: one event loop that serves connections. The composition root of the program.

Owns: which object gets which; the nesting of nurseries (listeners inside connections inside
service) and with it the order of stopping.

Must not know: signals, processes, files (``supervisor``, ``worker_process``). Tests and the demo
call ``serve`` directly.

Stopping, in order: the listeners are closed, so that clients are refused at once and can go
elsewhere; connections without a request are closed; sessions end with 1012; what is being answered
may go on for ``STOP_TIMEOUT``, as its connection's last; then what is left is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import trio

from gateway.agents.discovery import Discovery
from gateway.agents.endpoint import AgentEndpoint
from gateway.agents.identity import PinStore
from gateway.agents.jnlp4_leg import LegOpener
from gateway.agents.login import AgentLogin
from gateway.agents.registry import Registry
from gateway.config.models import GatewayConfig
from gateway.credentials.gate import Credentials
from gateway.errors import Draining, LimitExceeded
from gateway.http.connection import serve_connection
from gateway.http.exchange import ClientLimits
from gateway.http.forwarding import is_in
from gateway.http.proxy import Proxy
from gateway.http.router import Router
from gateway.http.upstream import Upstreams
from gateway.observability.access_log import AccessLog
from gateway.observability.logs import get_logger
from gateway.runtime.admission import ConnectionPlaces
from gateway.runtime.drain import Drain
from gateway.runtime.memory import give_back_after_crowds
from gateway.runtime.session_end import SessionEnd, Side
from gateway.server.control import ControlBroken, ControlStream
from gateway.server.dispatch import Dispatcher
from gateway.transport.listeners import BoundListener, accept_forever
from gateway.transport.stream import Stream
from gateway.transport.tls_context import ServerContexts

_log = get_logger("system")

# From the word to stop until connections that are still open are cut: sessions need 5 s to close in
# order.
STOP_TIMEOUT: Final = 10.0


async def serve(
    listeners: Sequence[BoundListener],
    snapshot: GatewayConfig,
    control: ControlStream | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``listeners`` by the configuration ``snapshot`` until ``control`` says stop, or ends.

    Without ``control``, until cancelled. Owns the listening sockets. Once every listener can
    accept, ``control`` is told ``ready`` and ``task_status`` is started. Raises ConfigError, before
    that, when a certificate cannot be used.
    """
    try:
        contexts = [_contexts(listener) for listener in listeners]
        worker = _Worker(snapshot)
        async with trio.open_nursery() as upkeep:
            upkeep.start_soon(worker.keep_up)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    for listener, certificates in zip(listeners, contexts, strict=True):
                        accepting.start_soon(worker.accept, listener, certificates, connections)
                    task_status.started()
                    await _until_stopped(control)
                    accepting.cancel_scope.cancel()  # closes the listening sockets, too
                worker.stop()
                connections.cancel_scope.deadline = trio.current_time() + STOP_TIMEOUT
            if connections.cancel_scope.cancelled_caught:
                _log.warning("connections were cut", after_s=STOP_TIMEOUT)
            upkeep.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.socket.close()


def _contexts(listener: BoundListener) -> ServerContexts | None:
    return None if listener.config.tls is None else ServerContexts(listener.config.tls)


class _Worker:
    """Everything that one worker shares, built from one configuration."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._drain = Drain()
        self._limits = ClientLimits.of(config.limits)
        self._access = AccessLog(config.access_log)
        self._places = ConnectionPlaces(
            config.limits.connections,
            per_address=config.limits.connections_per_address,
            is_exempt=partial(is_in, config.trusted_proxies),
        )
        self._router = Router(config)
        self._registry = Registry()
        self._upstreams = Upstreams(config)
        self._credentials = Credentials(config)
        discovery = Discovery(self._upstreams.fetch)
        agents = AgentEndpoint(
            config,
            discovery=discovery,
            pins=PinStore(config.state_dir),
            opener=LegOpener(),
            registry=self._registry,
            credentials=self._credentials,
        )
        self._dispatcher = Dispatcher(
            agents=agents,
            login=AgentLogin(discovery),
            proxy=Proxy(self._upstreams),
            drain=self._drain,
        )

    async def keep_up(self) -> None:
        """Look after connections to controllers, credentials and memory, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upstreams.run)
            nursery.start_soon(self._credentials.run)
            nursery.start_soon(give_back_after_crowds, self._places)

    async def accept(
        self, listener: BoundListener, contexts: ServerContexts | None, connections: trio.Nursery
    ) -> None:
        """Accept on ``listener`` until cancelled; serve what comes in ``connections``."""

        async def serve_stream(stream: Stream) -> None:
            await serve_connection(
                stream,
                listener=listener.config,
                config=self._config,
                router=self._router,
                handle=self._dispatcher.handle,
                limits=self._limits,
                drain=self._drain,
                access=self._access,
            )

        await accept_forever(
            listener,
            serve_stream,
            connections,
            handshake_failed=_log_failed_handshake,
            contexts=contexts,
            handshaking=self._drain.idle,
            handshake_timeout=self._config.limits.tls_handshake_timeout,
            admit=self._admit,
            proxies=self._config.trusted_proxies,
            introduction_failed=_log_failed_introduction,
        )

    @contextmanager
    def _admit(self, stream: Stream) -> Iterator[bool]:
        """Hold a place for a connection, or say that there is none."""
        with ExitStack() as held:
            try:
                held.enter_context(self._places.place(stream.peer.host))
            except LimitExceeded as error:
                _log.warning("connection refused", client=str(stream.peer), reason=str(error))
                yield False
                return
            yield True

    def stop(self) -> None:
        """Close what is idle, end every session, and let nothing new begin."""
        self._drain.begin()
        self._registry.end_all(SessionEnd.of(Side.GATEWAY, Draining()))
        _log.info("worker is stopping", sessions=len(self._registry), connections=self._places.held)


def _log_failed_handshake(stream: Stream, reason: str) -> None:
    _log.info("tls handshake failed", client=str(stream.peer), reason=reason)


def _log_failed_introduction(stream: Stream, reason: str) -> None:
    _log.info("proxy protocol failed", client=str(stream.peer), reason=reason)


async def _until_stopped(control: ControlStream | None) -> None:
    if control is None:
        await trio.sleep_forever()
        return
    try:
        await control.send({"type": "ready"})
        while (message := await control.receive()) is not None:
            if message.get("type") == "stop":
                return
        _log.error("the supervisor is gone; stopping")
    except trio.BrokenResourceError:
        _log.error("the supervisor is gone; stopping")
    except ControlBroken as error:
        _log.error("the supervisor cannot be understood; stopping", reason=str(error))
