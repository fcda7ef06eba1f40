"""Tests of ``gateway.agents.ended_cookies``: nobody waits for the disk, and nothing is mixed up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents import ended_cookies
from gateway.agents.cookie_file import DATABASE, KEY, CookieFile
from gateway.agents.ended_cookies import EndedCookies

COOKIE: Final = "c0" * 32
OTHER: Final = "0c" * 32


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[EndedCookies]:
    cookies = EndedCookies(CookieFile(folder))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cookies.run)
        yield cookies
        nursery.cancel_scope.cancel()


async def written(folder: Path) -> str | None:
    """Return what a new process would be given for the node ``a``, once something is."""
    file = CookieFile(folder)
    with trio.move_on_after(5):
        while (found := file.ended_cookie("main", "a")) is None:  # noqa: ASYNC110 (a file)
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
