"""Everything that the admin listener serves, put together.

Owns: which routes there are. Must not know: what they do.
"""

from __future__ import annotations

from gateway.server.admin.health import Condition, health_routes
from gateway.server.admin.routes import Routes
from gateway.server.operations import Operations


def admin_routes(operations: Operations) -> Routes:
    """Return all routes."""

    def condition() -> Condition:
        return Condition.of(
            operations.fleet,
            draining=operations.stopping.is_asked,
            last_reload=operations.reloader.last,
        )

    return Routes(health_routes(condition))
