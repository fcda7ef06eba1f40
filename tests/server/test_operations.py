"""What operators can do; whole gateways are in ``test_admin_processes``."""

from __future__ import annotations

from typing import Any, cast

from gateway.server.operations import Operations


def test_the_fleet_is_that_of_the_moment() -> None:
    fleets = [object(), object()]
    never = cast("Any", None)
    operations = Operations(lambda: cast("Any", fleets[0]), never, never, never)
    assert operations.fleet is fleets[0]
    fleets.reverse()
    assert operations.fleet is fleets[0]
