"""Which sessions are alive, and ending them all."""

from __future__ import annotations

import trio

from gateway.agents.registry import Registry
from gateway.errors import Draining
from gateway.runtime.session_end import SessionEnd, Side
from tests.agents.rig import running_session


async def test_an_entry_lasts_as_long_as_its_session() -> None:
    registry = Registry()
    async with running_session() as one, running_session() as other:
        with registry.register(one.session):
            with registry.register(other.session):
                assert len(registry) == 2
                assert set(registry) == {one.session, other.session}
            assert list(registry) == [one.session]
        assert len(registry) == 0


async def test_ending_all_ends_each_with_the_same_end() -> None:
    registry = Registry()
    end = SessionEnd.of(Side.GATEWAY, Draining())
    async with running_session() as one, running_session() as other, running_session() as apart:
        with registry.register(one.session), registry.register(other.session):
            registry.end_all(end)
            for rig in (one, other):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(rig.controller.send_eof)
                    _, code = await rig.read_to_agent()
                    await rig.agent.aclose()
                assert code == 1012
                assert await rig.wait_end() is end
        assert not apart.ended.is_set()


async def test_a_session_that_comes_too_late_is_ended_as_it_comes() -> None:
    """Its 101 was on the way when the others were told."""
    registry = Registry()
    end = SessionEnd.of(Side.GATEWAY, Draining())
    registry.end_all(end)
    async with running_session() as rig:
        with registry.register(rig.session):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.controller.send_eof)
                await rig.read_to_agent()
                await rig.agent.aclose()
            assert await rig.wait_end() is end
