"""Which sessions are alive."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from gateway.agents.registry import Entry, NodeSession, Registry
from gateway.runtime.session_end import SessionEnd
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


async def test_a_nodes_session_is_found_among_thousands() -> None:
    """Without a look at any other one."""
    registry = Registry()
    with ExitStack() as held:
        for number in range(2000):
            other = Played(0.0)
            held.enter_context(registry.register(other, entry(other, f"n{number}")))
        older, newer, over = Played(1.0), Played(2.0), Played(3.0, is_running=False)
        held.enter_context(registry.register(older, entry(older, "a")))
        with registry.register(newer, entry(newer, "a")), registry.register(over, entry(over, "a")):
            looked_at = Played.looks
            found = registry.find("main", "a")
            assert found is not None
            assert found.session == cast("NodeSession", newer)
            assert Played.looks - looked_at <= 6
        found = registry.find("main", "a")
        assert found is not None
        assert found.session == cast("NodeSession", older)
        assert registry.find("other", "a") is None
    assert registry.find("main", "a") is None
    assert len(registry) == 0
    assert not registry._nodes, "no node is remembered for ever"


class Played:
    looks = 0

    def __init__(self, started_at: float, *, is_running: bool = True) -> None:
        self.started_at = started_at
        self._is_running = is_running

    @property
    def is_running(self) -> bool:
        Played.looks += 1
        return self._is_running

    def end(self, end: SessionEnd) -> None:
        raise AssertionError


def entry(session: Played, node: str) -> Entry:
    return Entry(cast("NodeSession", session), "s1", "main", node, "192.0.2.1")
