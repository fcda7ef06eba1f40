"""Who is kept out, and until when."""

from __future__ import annotations

import pytest

from gateway.agents.blocks import Block, Blocks
from gateway.errors import Blocked, NotAuthorized


def test_at_one_controller_or_at_all() -> None:
    blocks = Blocks()
    blocks.replace([Block("a", "main"), Block("b", reason="stolen")])
    with pytest.raises(Blocked, match=r"not authorized: blocked by an operator$"):
        blocks.check("main", "a")
    blocks.check("other", "a")
    for controller in ("main", "other"):
        with pytest.raises(Blocked, match="by an operator: stolen"):
            blocks.check(controller, "b")
    blocks.check("main", "B")
    blocks.replace([])
    blocks.check("main", "a")


def test_what_the_agent_is_told_says_nothing() -> None:
    blocks = Blocks()
    blocks.replace([Block("a", reason="stolen")])
    with pytest.raises(Blocked) as caught:
        blocks.check("main", "a")
    assert caught.value.public == NotAuthorized.default_public


def test_until() -> None:
    now = 1000.0
    blocks = Blocks(clock=lambda: now)
    blocks.replace([Block("a", until=1060.0)])
    with pytest.raises(Blocked, match="until 1970-01-01T00:17:40"):
        blocks.check("main", "a")
    now = 1060.0
    blocks.check("main", "a")


def test_words() -> None:
    block = Block("a", "main", 2.0, "why", 1.0, "who")
    assert Block.of_words(block.in_words()) == block
    with pytest.raises(KeyError):
        Block.of_words({})
