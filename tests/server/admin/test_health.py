"""Ready, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.server.admin.health import health_routes
from gateway.server.readiness import Readiness
from tests.server.admin.asking import serving

GOOD = Readiness(listening=True, serving=True, draining=False, configured=True, reload_failed=False)


@pytest.mark.parametrize(
    ("condition", "status", "reasons"),
    [
        (GOOD, 200, []),
        (replace(GOOD, draining=True), 503, ["draining"]),
        (replace(GOOD, listening=False), 503, ["no listener is bound"]),
        (replace(GOOD, serving=False, configured=False), 503, ["no worker serves yet"]),
        (
            replace(GOOD, configured=False),
            503,
            ["no worker serves by the configuration in force yet"],
        ),
        (replace(GOOD, reload_failed=True), 200, []),
    ],
)
async def test_readiness(condition: Readiness, status: int, reasons: list[str]) -> None:
    async with serving(routes=health_routes(lambda: condition)) as admin:
        found = await admin.ask(target="/readyz")
        assert found.status == status
        assert found.json["reasons"] == reasons
        assert bool(found.json["warnings"]) is condition.reload_failed
        # It lives, whatever else.
        assert (await admin.ask(target="/healthz")).status == 200
