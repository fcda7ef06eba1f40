"""Tests of ``gateway.credentials.policy``: modes are alternatives, the first that knows decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gateway.credentials.policy import Granted, Presented, Unrecognised, authorize
from gateway.errors import NotAuthorized

PRESENTED = Presented("main", "node", "hunter2", "192.0.2.1")


class Mode:
    """A mode that gives one answer, and remembers that it was asked."""

    def __init__(self, answer: Callable[[Presented], Granted | Unrecognised]) -> None:
        self.asked: list[Presented] = []
        self._answer = answer

    async def verify(
        self, presented: Presented, failures: Sequence[str] = ()
    ) -> Granted | Unrecognised:
        self.asked.append(presented)
        return self._answer(presented)


def knows(secret: str) -> Mode:
    return Mode(lambda _: Granted(secret, proved=True))


def knows_nothing() -> Mode:
    return Mode(lambda _: Unrecognised("not mine"))


def refuses() -> Mode:
    def answer(_: Presented) -> Granted:
        raise NotAuthorized(detail="revoked")

    return Mode(answer)


async def test_the_first_mode_that_knows_the_secret_decides() -> None:
    modes = [knows_nothing(), knows("first"), knows("second")]
    assert await authorize(modes, PRESENTED) == Granted("first", proved=True)
    assert [len(mode.asked) for mode in modes] == [1, 1, 0]
    assert modes[1].asked == [PRESENTED]


@pytest.mark.parametrize("modes", [[], [knows_nothing()], [knows_nothing(), knows_nothing()]])
async def test_nobody_knows_the_secret(modes: list[Mode]) -> None:
    reason = "; ".join(["not mine"] * len(modes))
    assert await authorize(modes, PRESENTED) == Unrecognised(reason)


async def test_a_refusal_is_final() -> None:
    """A mode that knows a secret and refuses it is not overruled by the next."""
    last = knows("upstream")
    with pytest.raises(NotAuthorized, match="revoked"):
        await authorize([refuses(), last], PRESENTED)
    assert last.asked == []


def test_no_secret_in_a_repr() -> None:
    assert "hunter2" not in repr(PRESENTED)
    assert "node" in repr(PRESENTED)
    assert "upstream" not in repr(Granted("upstream", proved=False))
