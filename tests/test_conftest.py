"""Tests of ``tests.conftest``: what a test has started has ended before the next one begins."""

from __future__ import annotations

import os
import threading  # noqa: TID251 - an event that a thread sets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from gateway.config.logs import ChannelConfig, LogConfig
from gateway.observability.logs import apply, get_logger


@pytest.fixture(scope="module", autouse=True)
def _as_the_next_module_finds_it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = open_in(tmp_path_factory.getbasetemp())
    yield
    assert open_in(tmp_path_factory.getbasetemp()) <= before


def open_in(folder: Path) -> set[str]:
    """Return the files in ``folder`` that this process has open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {each for each in found if Path(each).is_relative_to(folder)}


async def test_work_that_was_given_up(tmp_path: Path) -> None:
    has_begun = threading.Event()

    def work() -> None:
        with (tmp_path / "open").open("w"):
            has_begun.set()
            time.sleep(0.2)

    async with trio.open_nursery() as nursery:

        async def start() -> None:
            await trio.to_thread.run_sync(work, abandon_on_cancel=True)

        nursery.start_soon(start)
        await trio.to_thread.run_sync(has_begun.wait)
        nursery.cancel_scope.cancel()


def test_a_log_that_is_still_written(tmp_path: Path) -> None:
    apply(LogConfig(system=ChannelConfig(to=tmp_path / "log")))
    get_logger("system").info("stopping")
