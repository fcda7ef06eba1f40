"""Everything that is served."""

from __future__ import annotations

from typing import cast

from gateway.server.admin.composition import admin_routes
from gateway.server.operations import Operations


def test_health_is_there() -> None:
    paths = {route.path for route in admin_routes(cast("Operations", None)).all}
    assert {"/healthz", "/readyz"} <= paths
