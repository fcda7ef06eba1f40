"""Stopping ends the sessions that are there, and those whose 101 was on its way."""

from __future__ import annotations

from gateway.agents.registry import Registry
from gateway.errors import Draining
from gateway.runtime.session_end import SessionEnd, Side
from tests.agents.rig import running_session

STOPPED = SessionEnd.of(Side.GATEWAY, Draining())


async def test_live_sessions_end() -> None:
    registry = Registry()
    async with running_session() as one, running_session() as other:
        with registry.register(one.session):
            with registry.register(other.session):
                assert len(registry) == 2
            registry.end_all(STOPPED)
            assert await one.read_to_agent() == (b"", 1012)
            await one.agent.aclose()
            await one.controller.aclose()
            assert await one.wait_end() == STOPPED
        assert other.end is None
    assert len(registry) == 0


async def test_a_session_that_comes_later_ends_as_it_comes() -> None:
    registry = Registry()
    registry.end_all(STOPPED)
    async with running_session() as rig:
        with registry.register(rig.session):
            assert await rig.read_to_agent() == (b"", 1012)
            assert await rig.read_to_controller() == b""
            await rig.agent.aclose()
            await rig.controller.aclose()
            assert await rig.wait_end() == STOPPED
