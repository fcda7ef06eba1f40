"""Tests of ``gateway.transport.per_loop``."""

from __future__ import annotations

import trio

from gateway.transport.per_loop import one_per_loop


def test_each_event_loop_has_its_own() -> None:
    current = one_per_loop("things", object)

    async def ask() -> tuple[object, object]:
        return current(), current()

    first, again = trio.run(ask)
    assert first is again
    assert trio.run(ask)[0] is not first
