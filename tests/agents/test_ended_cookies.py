"""Tests of ``gateway.agents.ended_cookies``: nobody waits for the disk, and nothing is mixed up."""

from __future__ import annotations

import sqlite3
import threading  # noqa: TID251 (what hangs is a thread)
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents import ended_cookies
from gateway.agents.cookie_file import (
    DATABASE,
    KEY,
    Change,
    CookieFile,
    CookieFileError,
    Started,
)
from gateway.agents.ended_cookies import EndedCookies

COOKIE: Final = "c0" * 32
OTHER: Final = "0c" * 32


@asynccontextmanager
async def running(folder: Path, file: CookieFile | None = None) -> AsyncIterator[EndedCookies]:
    cookies = EndedCookies(file or CookieFile(folder))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cookies.run)
        yield cookies
        nursery.cancel_scope.cancel()


async def written(folder: Path, node: str = "a") -> str | None:
    """Return what a new process would be given for the node, once something is."""
    file = CookieFile(folder)
    with trio.move_on_after(5):
        while (found := file.ended_cookie("main", node)) is None:  # noqa: ASYNC110 (a file)
            await trio.sleep(0.01)
    return found


async def test_an_end_is_found_at_once_and_later(tmp_path: Path) -> None:
    async with running(tmp_path) as cookies:
        assert await cookies.find("main", "a") is None
        cookies.started("main", "a", "s1", COOKIE)
        assert await cookies.find("main", "a") is None
        cookies.ended("main", "a", "s1")
        assert await cookies.find("main", "a") == COOKIE
        assert await written(tmp_path) == COOKIE
        assert await cookies.find("main", "a") == COOKIE


async def test_an_end_that_comes_after_its_beginning_was_written(tmp_path: Path) -> None:
    async with running(tmp_path) as cookies:
        cookies.started("main", "a", "s1", COOKIE)
        while not (tmp_path / DATABASE).exists():  # noqa: ASYNC110 (a file)
            await trio.sleep(0.01)
        assert await cookies.find("main", "a") is None
        cookies.ended("main", "a", "s1")
        assert await written(tmp_path) == COOKIE


async def test_the_old_sessions_end_comes_late(tmp_path: Path) -> None:
    async with running(tmp_path) as cookies:
        cookies.started("main", "a", "s1", COOKIE)
        cookies.started("main", "a", "s2", OTHER)
        cookies.ended("main", "a", "s1")
        assert await cookies.find("main", "a") is None
        cookies.ended("main", "a", "s2")
        assert await written(tmp_path) == OTHER


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_cookies, "MOST_WAITING", 2)
    cookies = EndedCookies(CookieFile(tmp_path))
    for node in "bca":
        cookies.started("main", node, "s1", COOKIE)
        cookies.ended("main", node, "s1")
    assert await cookies.find("main", "c") == COOKIE
    assert await cookies.find("main", "a") is None


async def test_a_file_that_cannot_be_used_is_told_once(tmp_path: Path, log: LogCapture) -> None:
    (tmp_path / KEY).write_bytes(b"short")
    async with running(tmp_path) as cookies:
        for number in range(3):
            cookies.started("main", "a", f"s{number}", COOKIE)
            await trio.sleep(0.1)
        assert await cookies.find("main", "b") is None
        (problem,) = log.entries
        assert problem["event"].startswith("sessions' cookies cannot be kept")
        assert KEY in problem["reason"]
        (tmp_path / KEY).unlink()
        cookies.started("main", "a", "s9", COOKIE)
        cookies.ended("main", "a", "s9")
        assert await written(tmp_path) == COOKIE
        while len(log.entries) < 2:  # noqa: ASYNC110 (a log)
            await trio.sleep(0.01)
        assert log.entries[1]["event"] == "sessions' cookies are kept again"
    assert COOKIE not in repr(log.entries)


class Disk(CookieFile):
    """One that fails, or hangs, as a test wants it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.failures = 0
        self.tries = 0
        self.hangs = threading.Event()
        self.hangs.set()

    def write(self, changes: Iterable[Change]) -> None:
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise CookieFileError("cookies.db: disk full")
        super().write(changes)

    def ended_cookie(self, controller: str, node: str) -> str | None:
        self.hangs.wait(20)
        return super().ended_cookie(controller, node)


async def test_a_disk_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: LogCapture
) -> None:
    monkeypatch.setattr(ended_cookies, "FIND_WITHIN", 0.05)
    disk = Disk(tmp_path)
    disk.hangs.clear()
    cookies = EndedCookies(disk)
    try:
        with trio.fail_after(5):
            for _ in range(2):
                assert await cookies.find("main", "a") is None
    finally:
        disk.hangs.set()
    assert len(log.entries) == 1
    assert "does not answer" in log.entries[0]["reason"]


async def test_what_could_not_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what has happened since: an end of the session, another session."""
    monkeypatch.setattr(ended_cookies, "AGAIN_AFTER", 0.05)
    disk = Disk(tmp_path)
    disk.failures = 2
    async with running(tmp_path, disk) as cookies:
        for node in "abc":
            cookies.started("main", node, "s1", COOKIE)
        while disk.tries < 1:  # noqa: ASYNC110 (a thread)
            await trio.sleep(0.005)
        cookies.ended("main", "a", "s1")
        cookies.started("main", "b", "s2", OTHER)
        cookies.ended("main", "b", "s2")
        assert await written(tmp_path) == COOKIE
        assert disk.tries >= 3
        file = CookieFile(tmp_path)
        assert file.ended_cookie("main", "b") == OTHER
        cookies.ended("main", "c", "s1")
        assert await written(tmp_path, "c") == COOKIE


async def test_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_cookies, "AGAIN_AFTER", 0.001)
    disk = Disk(tmp_path)
    disk.failures = 1000
    async with running(tmp_path, disk) as cookies:
        cookies.started("main", "a", "s1", COOKIE)
        with trio.fail_after(5):
            while cookies.is_waiting or disk.tries < ended_cookies.MOST_TRIES:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await trio.sleep(0.2)
        assert disk.tries == ended_cookies.MOST_TRIES


async def test_damaged_rows_are_told_once(tmp_path: Path, log: LogCapture) -> None:
    CookieFile(tmp_path).write(
        [Started("main", "b", "s1", OTHER), Started("main", "c", "s1", OTHER)]
    )
    database = sqlite3.connect(tmp_path / DATABASE)
    with database:
        database.execute("UPDATE cookies SET owner = x'ff'")
    database.close()
    async with running(tmp_path) as cookies:
        assert await cookies.find("main", "b") is None
        cookies.started("main", "a", "s1", COOKIE)
        cookies.ended("main", "a", "s1")
        assert await written(tmp_path) == COOKIE
        while not log.entries:  # noqa: ASYNC110 (a log)
            await trio.sleep(0.01)
    (line,) = log.entries
    assert (line["event"], line["rows"]) == ("damaged rows in cookies.db were deleted", 2)
