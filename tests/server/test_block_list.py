"""The list of blocks and its file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.agents.blocks import Block
from gateway.server.aside import Aside
from gateway.server.block_list import FILE, MOST_BLOCKS, BlockList


async def test_it_outlives_the_program(tmp_path: Path) -> None:
    blocks = BlockList(tmp_path, Aside())
    assert blocks.put(Block("a", "main", None, "why", 1.0, "who"))
    assert blocks.put(Block("b\x1b‮", until=5e9))
    assert await blocks.save()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert BlockList(tmp_path, Aside()).current() == blocks.current()
    assert blocks.remove("main", "a") is not None
    assert blocks.remove("main", "a") is None
    assert await blocks.save()
    assert [each.node for each in BlockList(tmp_path, Aside()).current()] == ["b\x1b‮"]


def test_what_is_over_is_gone(tmp_path: Path) -> None:
    now = 10.0
    blocks = BlockList(tmp_path, Aside(), clock=lambda: now)
    blocks.put(Block("a", until=20.0))
    assert len(blocks.in_words()) == 1
    now = 20.0
    assert blocks.in_words() == []


def test_it_is_bounded(tmp_path: Path) -> None:
    blocks = BlockList(tmp_path, Aside())
    for i in range(MOST_BLOCKS):
        assert blocks.put(Block(f"n{i}"))
    assert not blocks.put(Block("one more"))
    assert blocks.put(Block("n0", reason="another")), "in the place of the first"
    assert len(blocks.current()) == MOST_BLOCKS


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"blocks": [{}]}', b"\xff", b'{"blocks":1}'])
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with capture_logs() as logs:
        assert BlockList(tmp_path, Aside()).current() == []
    assert logs[0]["event"] == "the list of blocked nodes cannot be read; none is blocked"
    assert (tmp_path / FILE).read_bytes() == data


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    blocks = BlockList(tmp_path / "none", Aside())
    with capture_logs() as logs:
        assert not await blocks.save()
    assert logs[0]["reason"] == "no such file or directory"
