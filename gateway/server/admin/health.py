"""``/healthz`` and ``/readyz``, for probes and balancers: without a token.

Owns: the two routes. Must not know: what ready means (``server.readiness``).
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.server.admin.messages import AdminRequest, Answer
from gateway.server.admin.routes import Access, Route
from gateway.server.readiness import Readiness


def health_routes(readiness: Callable[[], Readiness]) -> tuple[Route, ...]:
    """Return the two routes."""

    async def healthz(request: AdminRequest) -> Answer:
        return Answer.json({"alive": True})

    async def readyz(request: AdminRequest) -> Answer:
        found = readiness().as_fields()
        return Answer.json(found, 200 if found["ready"] else 503)

    return (
        Route(
            "GET",
            "/healthz",
            "getHealth",
            "Whether the gateway lives",
            healthz,
            "Health",
            description="200 as long as the supervisor answers. For liveness probes.",
            access=Access.PUBLIC,
            tag="health",
        ),
        Route(
            "GET",
            "/readyz",
            "getReadiness",
            "Whether the gateway is ready for clients",
            readyz,
            "Readiness",
            description=(
                "200 or 503, with the reasons either way. Never depends on a controller. For"
                " readiness probes and balancers."
            ),
            access=Access.PUBLIC,
            tag="health",
            problems=(503,),
        ),
    )
