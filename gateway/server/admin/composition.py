"""Everything that the admin listener serves, put together.

Owns: which routes there are. Must not know: what they do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.server.admin.api import api_routes
from gateway.server.admin.health import health_routes
from gateway.server.admin.messages import AdminRequest, Answer
from gateway.server.admin.openapi import openapi_route
from gateway.server.admin.routes import Route, Routes
from gateway.server.operations import Operations

# What ``/metrics`` answers: content type and text.
Metrics = Callable[[], Awaitable[tuple[str, bytes]]]


def admin_routes(operations: Operations, *, metrics: Metrics | None = None) -> Routes:
    """Return all routes; ``/metrics`` only where somebody supplies ``metrics``."""

    routes = Routes((*health_routes(lambda: operations.readiness()), *api_routes(operations)))
    routes.add([openapi_route(routes)])
    if metrics is not None:
        routes.add([_metrics_route(metrics)])
    return routes


def _metrics_route(metrics: Metrics) -> Route:
    async def handle(request: AdminRequest) -> Answer:
        content_type, text = await metrics()
        return Answer(200, content_type, text)

    return Route("GET", "/metrics", "getMetrics", "Metrics", handle, tag="metrics")
