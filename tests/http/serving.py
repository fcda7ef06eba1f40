"""The HTTP layer on real sockets: configurations, and a gateway with a test's own handler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from gateway.config.models import GatewayConfig
from gateway.http.client_limits import ClientLimits
from gateway.http.connection import serve_connection
from gateway.http.proxy import Proxy
from gateway.http.router import Router
from gateway.http.serving import Handler, Serving
from gateway.http.upkeep import Upkeep
from gateway.http.upstream import Upstreams
from gateway.observability.access_log import AccessLog
from gateway.transport.stream import Stream
from gateway.transport.tls_context import ClientDemand


def make_config(url: str | None = "http://127.0.0.1:9/", **more: Any) -> GatewayConfig:
    """Return a configuration with the controller ``main``; ``controller`` adds keys to it."""
    controller = {"url": url, **more.pop("controller", {})}
    return GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": "127.0.0.1:8080"}],
            "controllers": {"main": controller},
            **more,
        }
    )


def served(
    config: GatewayConfig,
    handle: Handler,
    *,
    limits: ClientLimits | None = None,
    access: AccessLog | None = None,
    demand: ClientDemand | None = None,
) -> Callable[[], Serving]:
    """Have all requests of the first listener served by ``handle``, and by ``config`` for ever."""
    serving = Serving(
        config.listeners[0],
        Router(config),
        handle,
        config.trusted_proxies,
        ClientLimits.of(config.limits) if limits is None else limits,
        AccessLog("off") if access is None else access,
        demand,
        claims=frozenset(name.encode() for name in config.trusted_proxy_headers),
    )
    return lambda: serving


async def start(
    nursery: trio.Nursery,
    handle: Handler,
    config: GatewayConfig | None = None,
    *,
    limits: ClientLimits | None = None,
) -> int:
    """Serve ``handle`` on 127.0.0.1 until the nursery ends; return the port."""
    config = make_config() if config is None else config
    current = served(config, handle, limits=limits)

    async def serve(connection: trio.SocketStream) -> None:
        await serve_connection(Stream(connection.socket), current)

    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def start_proxy(
    nursery: trio.Nursery,
    origin_port: int,
    *,
    prefix: str = "",
    limits: ClientLimits | None = None,
    answer_timeout: float = 60.0,
    client_check: float = 60.0,
    **config: Any,
) -> int:
    """Serve a proxy to the origin on ``origin_port``; return the gateway's port."""
    route = {"id": "main", "controller": "main", "response_timeout": answer_timeout}
    config.setdefault("routes", [{**route, **config.pop("route", {})}])
    made = make_config(f"http://127.0.0.1:{origin_port}{prefix}/", **config)
    upstreams = Upstreams(made)
    nursery.start_soon(Upkeep(upstreams).run)
    proxy = Proxy(upstreams, client_check=client_check)
    return await start(nursery, proxy.forward, made, limits=limits)
