"""Which sessions are alive."""

from __future__ import annotations

from gateway.agents.registry import Registry
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
