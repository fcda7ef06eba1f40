"""One worker's question, asked of the others; whole fleets are in ``test_fleet``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio
from trio.testing import MockClock

from gateway.server.asking import ask_others
from gateway.server.children import State

QUESTION = {"type": "ask", "id": 3, "question": "challenge", "node": "n"}


class Played:
    """A worker that answers ``answer`` after ``after`` seconds."""

    def __init__(
        self, pid: int, answer: Any = None, *, after: float = 0.0, state: State = State.SERVING
    ) -> None:
        self.process = SimpleNamespace(pid=pid)
        self.state = state
        self.answer = answer
        self.after = after
        self.asked: list[dict[str, Any]] = []
        self.told: list[tuple[str, str]] = []

    async def ask(self, question: str, **more: Any) -> Any:
        self.asked.append({"question": question, **more})
        await trio.sleep(self.after)
        return self.answer

    async def tell(self, kind: str, *, by: str) -> None:
        self.told.append((kind, by))


async def asked(asker: Played, *others: Played, within: float = 60.0) -> Any:
    found = None
    async with trio.open_nursery() as tasks:
        with trio.move_on_after(within):
            children = cast("Any", [asker, *others])
            # As it is sent: late answers come into it afterwards.
            found = dict(await ask_others(cast("Any", asker), QUESTION, children, tasks))
    return found


async def test_the_first_answer_is_enough(autojump_clock: MockClock) -> None:
    none, one = Played(2, {"session": None}), Played(3, {"session": "s"}, after=1)
    late, starting = Played(4, {"session": "t"}, after=9), Played(5, state=State.STARTING)
    asker = Played(1)
    found = await asked(asker, none, one, late, starting)
    assert found == {"session": "s", "worker": 3, "unanswered": 0}
    assert one.asked == [{"question": "challenge", "node": "n", "by": "1:3"}]
    assert asker.asked == starting.asked == []
    # Who has answered is asked nothing back; who has not is told that nobody waits.
    assert (none.told, one.told, late.told) == ([], [], [("withdraw", "1:3")])


async def test_who_says_nothing_is_counted(autojump_clock: MockClock) -> None:
    others = Played(2), Played(3, {"error": "what?"}), Played(4, {"session": None})
    assert await asked(Played(1), *others) == {"session": None, "unanswered": 2}


async def test_nobody_else() -> None:
    assert await asked(Played(1)) == {"session": None, "unanswered": 0}


async def test_an_asker_that_leaves(autojump_clock: MockClock) -> None:
    other = Played(2, {"session": None}, after=9)
    assert await asked(Played(1), other, within=1) is None
    assert other.told == [("withdraw", "1:3")]
