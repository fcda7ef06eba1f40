"""Everything that the admin listener serves, put together.

Owns: which routes there are. Must not know: what they do.
"""

from __future__ import annotations

from gateway.server.admin.api import api_routes
from gateway.server.admin.health import health_routes
from gateway.server.admin.openapi import openapi_route
from gateway.server.admin.page.gathering import Gathering
from gateway.server.admin.page.pages import StatusPage
from gateway.server.admin.page.routing import page_routes
from gateway.server.admin.routes import Routes
from gateway.server.operations import Operations


def admin_routes(operations: Operations) -> Routes:
    """Return all routes."""

    routes = Routes((*health_routes(lambda: operations.readiness()), *api_routes(operations)))
    routes.add([openapi_route(routes)])
    routes.add(page_routes(StatusPage(Gathering(operations))))
    return routes
