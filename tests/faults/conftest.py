"""What the tests of faults share: what was logged, a clock that jumps, and the registry."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import LogCapture
from trio.testing import MockClock

from tests.faults.link import WatchedRegistry


@pytest.fixture
def log() -> LogCapture:
    """Capture every line, whatever its level, before anything is redacted."""
    capture = LogCapture()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    return capture


@pytest.fixture
def clock() -> MockClock:
    """Run the test in mock time that jumps once nothing has happened for a moment of real time.

    The moment is there for the kernel: sockets of one process answer within microseconds.
    """
    return MockClock(autojump_threshold=0.05)


@pytest.fixture(autouse=True)
def _no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep idle connections from being looked for: mock time would stop for each look.

    And cookies from being written: mock time goes on while a thread writes.
    """
    monkeypatch.setattr("gateway.http.upstream.SWEEP_EVERY", 100_000.0)
    monkeypatch.setattr("gateway.agents.ended_cookies.GATHER", 100_000.0)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> WatchedRegistry:
    """Return the registry that the test's worker will use."""
    made = WatchedRegistry()
    monkeypatch.setattr("gateway.server.generation.Registry", lambda: made)
    return made
