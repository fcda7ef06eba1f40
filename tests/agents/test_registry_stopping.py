"""Stopping ends the sessions that are there, and those whose 101 was on its way."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock

from gateway.agents.registry import Entry, Registry
from gateway.errors import Draining
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import Sign
from gateway.runtime.session_view import SessionView
from tests.agents.rig import running_session

STOPPED = SessionEnd.of(Side.GATEWAY, Draining())


async def test_live_sessions_end() -> None:
    registry = Registry()
    async with running_session() as one, running_session() as other:
        with registry.register(one.session):
            with registry.register(other.session):
                assert len(registry) == 2
            await registry.end_all(STOPPED)
            assert await one.read_to_agent() == (b"", 1012)
            await one.agent.aclose()
            await one.controller.aclose()
            assert await one.wait_end() == STOPPED
        assert other.end is None
    assert len(registry) == 0


async def test_a_session_that_comes_later_ends_as_it_comes() -> None:
    registry = Registry()
    await registry.end_all(STOPPED)
    async with running_session() as rig:
        with registry.register(rig.session):
            assert await rig.read_to_agent() == (b"", 1012)
            assert await rig.read_to_controller() == b""
            await rig.agent.aclose()
            await rig.controller.aclose()
            assert await rig.wait_end() == STOPPED


class _Session:
    """What stopping needs of a session: when it was ended, and by what."""

    suspect = False
    is_running = True

    def __init__(self, node: str = "node", started_at: float = 0.0) -> None:
        self.entry = Entry(self, "id", "main", node, "192.0.2.1")
        self.started_at = started_at
        self.ended: list[tuple[float, SessionEnd]] = []

    def end(self, end: SessionEnd) -> None:
        self.ended.append((trio.current_time(), end))

    async def challenge(self) -> Sign:
        raise AssertionError("nobody is challenged here")

    def view(self) -> SessionView:
        raise AssertionError("nobody is shown here")


def registered(registry: Registry, stack: ExitStack, *sessions: _Session) -> None:
    for session in sessions:
        stack.enter_context(registry.register(session, session.entry))


async def test_ends_are_spread_evenly_and_by_chance(autojump_clock: MockClock) -> None:
    registry = Registry()
    sessions = [_Session() for _ in range(100)]
    with ExitStack() as stack:
        registered(registry, stack, *sessions)
        await registry.end_all(STOPPED, spread=50)
        late = _Session()
        registered(registry, stack, late)
        assert [end for _, end in late.ended] == [STOPPED]
    times = sorted(at for session in sessions for at, _ in session.ended)
    assert len(times) == 100
    # Each in a half second of its own, and not all at the same moment of it.
    assert all(i / 2 <= at < (i + 1) / 2 for i, at in enumerate(times))
    assert len({at % 0.5 for at in times}) > 90


async def test_less_time_may_follow(autojump_clock: MockClock) -> None:
    registry = Registry()
    sessions = [_Session() for _ in range(10)]
    with ExitStack() as stack:
        registered(registry, stack, *sessions)
        with trio.move_on_after(10):
            await registry.end_all(STOPPED, spread=1000)
        assert sum(len(session.ended) for session in sessions) <= 1
        await registry.end_all(STOPPED)
    assert all(session.ended for session in sessions)
    assert trio.current_time() == pytest.approx(10)


async def test_a_node_is_found_with_its_newest_session() -> None:
    registry = Registry()
    old, new, other = _Session("a", 1.0), _Session("a", 2.0), _Session("b", 3.0)
    with ExitStack() as stack:
        registered(registry, stack, new, other, old)
        stack.enter_context(registry.register(_Session("c", 4.0)))  # no agent's
        assert registry.find("main", "a") is new.entry
        new.is_running = False  # its legs are being closed
        assert registry.find("main", "a") is old.entry
        old.is_running = False
        assert registry.find("main", "a") is None
        assert registry.entries() == [new.entry, other.entry, old.entry]
        new.is_running = True
        assert registry.find("main", "c") is None
        assert registry.find("elsewhere", "a") is None
