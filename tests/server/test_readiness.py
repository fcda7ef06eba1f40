"""What readiness is judged by; its words are in ``admin/test_health``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.server.fleet import Fleet
from gateway.server.readiness import Readiness
from gateway.server.reloader import Reload

GOOD: dict[str, Any] = {"addresses": ["127.0.0.1:1"], "is_serving": True, "is_configured": True}


@pytest.mark.parametrize(
    ("fleet", "draining", "is_ready"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"addresses": []}, False, False),
        ({"is_serving": False}, False, False),
        ({"is_configured": False}, False, False),
    ],
)
def test_what_it_takes(fleet: dict[str, Any], draining: bool, is_ready: bool) -> None:
    played = cast("Fleet", SimpleNamespace(**{**GOOD, **fleet}))
    found = Readiness.of(played, draining=draining, last_reload=None).as_fields()
    assert found["ready"] is is_ready
    assert bool(found["reasons"]) is not is_ready


def test_a_reload_that_was_refused_is_a_warning() -> None:
    played = cast("Fleet", SimpleNamespace(**GOOD))
    refused = Reload.now("SIGHUP", 1, "gateway.yaml:3: no")
    found = Readiness.of(played, draining=False, last_reload=refused).as_fields()
    assert found["ready"]
    assert found["warnings"] == ["the last reload was refused"]
    assert "gateway.yaml" not in str(found), "strangers may ask"
