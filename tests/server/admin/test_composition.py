"""Everything that is served."""

from __future__ import annotations

from typing import cast

from gateway.server.admin.composition import admin_routes
from gateway.server.admin.routes import Access
from gateway.server.operations import Operations
from tests.server.admin.asking import serving

NOBODY = cast("Operations", None)


async def _metrics() -> tuple[str, bytes]:
    return "text/plain; version=0.0.4", b"up 1\n"


def test_what_is_there() -> None:
    paths = {route.path for route in admin_routes(NOBODY).all}
    assert {"/healthz", "/readyz", "/api/v1/sessions", "/api/v1/openapi.json"} <= paths
    assert "/metrics" not in paths


async def test_metrics_where_somebody_has_them() -> None:
    routes = admin_routes(NOBODY, metrics=_metrics).all
    async with serving(routes=routes) as admin:
        found = await admin.ask(target="/metrics")
    assert (found.status, found.body) == (200, b"up 1\n")
    assert found.fields["content-type"] == "text/plain; version=0.0.4"
    (route,) = (each for each in routes if each.path == "/metrics")
    assert route.access is Access.PROTECTED
