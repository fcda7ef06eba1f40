"""What operators have set reaches every worker; whole fleets are in ``test_fleet``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from gateway.server.children import State
from gateway.server.settings_spread import AGAIN, SettingsSpread


class Played:
    def __init__(self, pid: int, *, state: State = State.SERVING) -> None:
        self.process = SimpleNamespace(pid=pid)
        self.state = state
        self.settings: dict[str, Any] = {}
        self.is_silent = False
        self.answers = True
        self.taken: list[Any] = []

    async def ask(self, question: str, *, settings: Any) -> dict[str, Any] | None:
        assert question == "settings"
        await trio.sleep(0.1)
        self.taken.append(settings)
        return {"taken": True} if self.answers else None


async def test_each_is_told_once_and_who_is_late_again(autojump_clock: MockClock) -> None:
    good, deaf, silent = Played(3), Played(2), Played(1)
    starting = Played(4, state=State.STARTING)
    deaf.answers, silent.is_silent = False, True
    children = [good, deaf, silent, starting]
    settings = {"log_level": "debug"}
    spread = SettingsSpread(lambda: cast("Any", children), lambda: settings)
    assert await spread.now() == [1, 2]
    assert (good.taken, silent.taken, starting.taken) == ([settings], [], [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spread.keep)
        await trio.sleep(1.5 * AGAIN)
        assert len(deaf.taken) == 2
        deaf.answers, silent.is_silent, starting.state = True, False, State.SERVING
        await trio.sleep(2 * AGAIN)
        nursery.cancel_scope.cancel()
    assert [len(each.taken) for each in children] == [1, 3, 1, 1]
    assert await spread.now() == []
