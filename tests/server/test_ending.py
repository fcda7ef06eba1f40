"""How a worker ends: by which steps, and when."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.agents.registry import Registry
from gateway.agents.session import AgentSession
from gateway.runtime.admission import ConnectionPlaces
from gateway.runtime.drain import Drain
from gateway.runtime.session_end import SessionEnd
from gateway.runtime.session_loop import CLOSE_TIMEOUT
from gateway.server.ending import STOP_TIMEOUT, Ending, Linger, Stop


class Session:
    """A session that notes when it was ended."""

    def __init__(self, note: Callable[[SessionEnd], None]) -> None:
        self.end = note


class Site:
    """The parts that ending is about, with 20 sessions that only note it."""

    def __init__(self) -> None:
        self.drain = Drain()
        self.registry = Registry()
        places = ConnectionPlaces(1, per_address=1)
        self.ending = Ending(self.drain, self.registry, places)
        self.connections = trio.CancelScope()
        self.ends: list[tuple[float, int]] = []

    def note(self, end: SessionEnd) -> None:
        self.ends.append((trio.current_time(), end.close_code))

    @property
    def last(self) -> float:
        return max((at for at, _ in self.ends), default=-1)


@asynccontextmanager
async def ending(order: Stop | Linger, *, accepted: bool = True) -> AsyncIterator[Site]:
    site = Site()
    async with trio.open_nursery() as nursery:
        with ExitStack() as stack:
            for _ in range(20):
                session = cast("AgentSession", cast("Any", Session(site.note)))
                stack.enter_context(site.registry.register(session))
            assert not site.ending.begun.is_set()
            if accepted:
                site.ending.accepted.set()
            site.ending.give(order)
            assert site.ending.begun.is_set()
            nursery.start_soon(site.ending.carry_out, site.connections)
            await trio.testing.wait_all_tasks_blocked()
            yield site
            nursery.cancel_scope.cancel()


async def test_a_stop_without_more_ends_all_at_once(mock_clock: MockClock) -> None:
    async with ending(Stop()) as site:
        assert site.drain.begun
        assert site.ends == [(0, 1012)] * 20
        assert site.connections.deadline == STOP_TIMEOUT


async def test_a_drain_takes_its_time(autojump_clock: MockClock) -> None:
    async with ending(Stop(spread=40, timeout=300)) as site:
        assert site.drain.begun
        assert site.ends == []
        await trio.sleep(20)
        assert 9 <= len(site.ends) <= 11
        await trio.sleep(20)
        assert len(site.ends) == 20
        assert site.connections.deadline == 300


@pytest.mark.parametrize(
    ("order", "usable"),
    [
        (Stop(spread=40, timeout=300), 40),
        (Stop(spread=40, timeout=30), 30 - CLOSE_TIMEOUT),
        (Stop(spread=40, timeout=1), 0),
        (Stop(spread=40, timeout=math.inf), 40),
    ],
)
def test_the_last_session_has_time_to_close(order: Stop, usable: float) -> None:
    assert order.usable_spread == usable


async def test_lingering_hurries_nobody_until_it_is_over(autojump_clock: MockClock) -> None:
    async with ending(Linger(3600, Stop(spread=10, timeout=20))) as site:
        await trio.sleep(3599)
        assert site.drain.leaving
        assert not site.drain.begun
        assert site.ends == []
        assert site.connections.deadline == math.inf
        await trio.sleep(2)
        assert site.drain.begun
        assert site.connections.deadline == 3620
        await trio.sleep(10)
        assert len(site.ends) == 20
        assert site.last <= 3610


async def test_a_later_word_counts(autojump_clock: MockClock) -> None:
    async with ending(Linger(3600, Stop())) as site:
        await trio.sleep(10)
        site.ending.give(Stop(spread=1000, timeout=math.inf))
        await trio.sleep(1)
        assert site.drain.begun
        assert site.connections.deadline == math.inf
        site.ending.give(Linger(3600, Stop()))  # too late for that
        await trio.sleep(1)
        assert len(site.ends) < 20
        site.ending.give(Stop())
        await trio.sleep(1)
        assert len(site.ends) >= 20
        assert site.last <= 13
        assert site.connections.deadline == pytest.approx(12 + STOP_TIMEOUT)


async def test_what_happens_is_logged(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with ending(Linger(5, Stop(timeout=math.inf))):
            await trio.sleep(6)
    assert [(line["event"], line["sessions"], line["timeout_s"]) for line in logs] == [
        ("worker is lingering", 20, 5),
        ("worker is stopping", 20, None),
    ]


async def test_time_counts_while_a_backlog_does_not_empty(autojump_clock: MockClock) -> None:
    async with ending(Stop(timeout=10), accepted=False) as site:
        assert site.ends == [(0, 1012)] * 20
        assert site.connections.deadline == 10
        assert site.drain.leaving
        assert not site.drain.begun  # whoever waits there has asked for something
        await trio.sleep(4)
        site.ending.accepted.set()
        await trio.sleep(1)
        assert site.drain.begun
        assert site.connections.deadline == 10
