"""Files that change, in all the ways in which that is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.server.watch import INTERVAL, watch
from tests.server.at_once import AtOnce


class Watched:
    """A watch in mock time: ``changes`` is how often it called."""

    def __init__(self, *paths: Path) -> None:
        self.paths = set(paths)
        self.changes: list[float] = []
        self.aside = AtOnce()

    async def run(self) -> None:
        await watch(lambda: self.paths, self._changed, self.aside)

    async def _changed(self) -> None:
        self.changes.append(trio.current_time())


async def follow(watched: Watched, *steps: Callable[[], object]) -> list[float]:
    """Do one step an interval, the first between two looks; return when changes were seen."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        await trio.sleep(INTERVAL / 2)
        for step in steps:
            step()
            await trio.sleep(INTERVAL)
        await trio.sleep(5 * INTERVAL)
        nursery.cancel_scope.cancel()
    return watched.changes


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def delete_and_write(path: Path) -> None:
    path.unlink()
    path.write_text("a: 3")


def touch(path: Path) -> None:
    """Write the same size within the clock's resolution, as a quick tool might."""
    path.write_text("a: 2")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "step",
    [
        lambda path: path.write_text("longer than before"),
        lambda path: replace(path, "a: 2"),
        delete_and_write,
        touch,
        lambda path: path.unlink(),
        lambda path: path.chmod(0o600),
        lambda path: shutil.copy(__file__, path),
    ],
)
async def test_a_change_is_reported_once_it_rests(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, step: Callable[[Path], object]
) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1")
    path.chmod(0o644)
    assert await follow(Watched(path), lambda: step(path)) == [2 * INTERVAL]


async def test_as_kubernetes_changes_a_mounted_volume(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Each file is a link through ``..data``, a link to a folder that is replaced whole."""
    for name, text in (("..1", "a: 1"), ("..2", "a: 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "gateway.yaml"
    path.symlink_to("..data/gateway.yaml")

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        shutil.rmtree(tmp_path / "..1")

    assert await follow(Watched(path), swap) == [2 * INTERVAL]
    assert path.read_text() == "a: 2"


async def test_a_file_that_keeps_changing_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    certificate, key = tmp_path / "crt", tmp_path / "key"
    for path in (certificate, key):
        path.write_text("old")
    watched = Watched(certificate, key)
    steps = [
        lambda: certificate.write_text("1"),
        lambda: key.write_text("12"),
        lambda: key.write_text("123"),
    ]
    assert await follow(watched, *steps) == [4 * INTERVAL]


async def test_nothing_changed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1")
    assert await follow(Watched(path, tmp_path / "missing")) == []


async def test_what_is_watched_may_change(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A file that is new in the list has not changed; one that appears has."""
    path, other = tmp_path / "gateway.yaml", tmp_path / "tls.crt"
    path.write_text("a: 1")
    watched = Watched(path)
    steps = [lambda: watched.paths.add(other), lambda: other.write_text("there")]
    assert await follow(watched, *steps) == [3 * INTERVAL]


async def test_a_file_system_that_is_away_for_a_while(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1")
    watched = Watched(path)
    steps = [
        lambda: setattr(watched.aside, "hangs", True),
        lambda: path.write_text("longer"),
        *[lambda: None] * 40,
        lambda: setattr(watched.aside, "hangs", False),
        *[lambda: None] * 40,
    ]
    (seen,) = await follow(watched, *steps)
    assert seen > 42 * INTERVAL
