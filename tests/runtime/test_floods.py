"""Many of the same event in the log: the first at once, then one line an interval."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.observability.logs import get_logger
from gateway.runtime.floods import FloodLog


def make() -> FloodLog:
    return FloodLog(get_logger("test"), "refused", interval=10)


def counts(logs: list[Any]) -> list[tuple[int, int]]:
    """Return (client, count) of each line; a line without a count has 0."""
    assert all((line["event"], line["log_level"]) == ("refused", "warning") for line in logs)
    return [(line["client"], line.get("count", 0)) for line in logs]


async def test_a_flood_is_a_line_an_interval(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        floods = make()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(floods.run)
            for i in range(250):  # 25 s
                floods.tell(client=i)
                await trio.sleep(0.1)
            assert len(logs) == 3
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
    (first, *rest) = counts(logs)
    assert first == (0, 0)
    assert len(rest) == 3
    assert rest[-1][0] == 249
    assert sum(count for _, count in rest) == 249


async def test_seldom_ones_are_told_at_once(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        floods = make()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(floods.run)
            for i in range(3):
                floods.tell(client=i)
                assert counts(logs) == [(each, 0) for each in range(i + 1)]
                await trio.sleep(11)
            nursery.cancel_scope.cancel()
    assert len(logs) == 3


async def test_what_was_counted_is_not_lost_at_the_end(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        floods = make()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(floods.run)
            await trio.testing.wait_all_tasks_blocked()
            for i in range(5):
                floods.tell(client=i)
            nursery.cancel_scope.cancel()
    assert counts(logs) == [(0, 0), (4, 4)]
