"""What the tests of faults share: the registry, and that nothing stops mock time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from gateway.agents.cookie_file import CookieFile
from tests.faults.link import WatchedRegistry


@pytest.fixture(autouse=True)
def _no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep idle connections from being looked for: mock time would stop for each look.

    And cookies from being written and read: mock time jumps while a thread is busy. And beats from
    coming each second of a silence.
    """
    monkeypatch.setattr("gateway.runtime.lost_time.BEAT", 100.0)
    monkeypatch.setattr("gateway.http.upstream.SWEEP_EVERY", 100_000.0)
    monkeypatch.setattr("gateway.agents.ended_cookies.GATHER", 100_000.0)
    monkeypatch.setattr("gateway.agents.ended_cookies.CookieFile.ended_cookie", _no_cookie)
    monkeypatch.setattr("trio.to_thread.run_sync", _run_here)


def _no_cookie(file: CookieFile, controller: str, node: str) -> None:
    """Stand in for a file in which nothing is."""


async def _run_here(call: Callable[..., object], *arguments: object, **options: object) -> object:
    """Stand in for ``to_thread.run_sync`` where what is called takes no time."""
    await trio.lowlevel.checkpoint()
    return call(*arguments)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> WatchedRegistry:
    """Return the registry that the test's worker will use."""
    made = WatchedRegistry()
    monkeypatch.setattr("gateway.server.generation.Registry", lambda: made)
    return made
