"""What the tests of credentials share: a clock that waits for threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Run the test in mock time, and what is for threads at once.

    A mock clock does not know of threads: it would jump while one of them waits for a slow disk.
    """

    async def run_sync(function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return MockClock(autojump_threshold=0.0)
