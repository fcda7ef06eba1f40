"""Another log level, and the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
import trio

from gateway.observability.logs import set_level
from gateway.server.log_level import LogLevel


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    set_level("warning")  # of the standard library's root logger, as Python has it
    structlog.configure(**before)


def _state(level: LogLevel) -> tuple[object, ...]:
    return level.in_force, level.level, level.until


async def test_it_goes_back_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    level = LogLevel()
    assert _state(level) == ("info", None, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(level.run)
        level.put("debug", within=60)
        assert level.until is not None
        await trio.sleep(59)
        assert level.in_force == "debug"
        level.put("error", within=60)  # the time begins anew
        await trio.sleep(59)
        assert level.in_force == "error"
        await trio.sleep(2)
        assert _state(level) == ("info", None, None)
        level.put("debug")
        await trio.sleep(80_000)
        assert level.in_force == "debug"
        level.put(None, within=5)
        assert _state(level) == ("info", None, None)
        nursery.cancel_scope.cancel()
