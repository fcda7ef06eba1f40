"""Rules for every test, and what they share.

Network tests:

* 127.0.0.1 only, port 0 only: tests run at the same time and without a network. * Nothing waits
for the wall clock. Time is pytest-trio's ``autojump_clock`` or ``mock_clock``; where
  real sockets are in play (an autojump clock would jump while the kernel works), limits are passed
  in and made small, or large and never reached.
* One side closes, the other sees it: a test says which, and checks that both ends are done with. A
  stream, socket, task or thread that outlives its test is an error (warnings are errors).
* Every test has a deadline: pytest-timeout's 60 s; ``trio.fail_after`` where a hang has a better
name. * A peer is played by code that shares nothing with the code under test: ``gateway.demo``,
  ``tests/peers``, the standard library, h11, wsproto.

Parsers are fed through ``tests.feeding.feed_all_ways``: whole, byte by byte, with trailing data.

A test that cannot fail is removed. Secrets used in tests are made up and say so.
"""

from __future__ import annotations

import logging
import threading  # noqa: TID251 - to say when trio's threads have ended
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import pytest
import structlog
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.credentials import node_tables
from gateway.observability import log_outputs
from tests.log_lines import undocumented_call

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from outcome import Outcome
    from structlog.typing import EventDict

T = TypeVar("T")

THREADS_END_WITHIN: Final = 10.0  # seconds


@pytest.fixture(autouse=True)
def _forget_logging() -> Iterator[None]:
    """Undo ``logs.configure``, so that no test writes to another one's stream."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers, root.level = handlers, level
    # Writers that are at their end let go of their files here, and not later in their threads.
    log_outputs.close_writers()
    log_outputs.keep_files(())
    log_outputs.reopen_writers()


@pytest.fixture(autouse=True)
def _everything_logged_is_documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which the program logs an event or a field that is in no table."""
    found: list[str] = []
    capture = LogCapture.__call__

    def check(self: LogCapture, logger: Any, method: str, event: EventDict) -> NoReturn:
        problem = undocumented_call(event)
        if problem is not None:
            found.append(problem)
        capture(self, logger, method, event)

    monkeypatch.setattr(LogCapture, "__call__", check)
    yield
    assert found == []


@pytest.fixture(autouse=True)
def _close_stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test's node stores have left open: collected some time later, descriptors would
    go while another test counts its own.
    """
    opened: list[sqlite3.Connection] = []

    def connect(path: Path) -> sqlite3.Connection:
        opened.append(node_tables.connect(path))
        return opened[-1]

    monkeypatch.setattr("gateway.credentials.node_store.connect", connect)
    yield
    for connection in opened:
        connection.close()


@pytest.fixture(autouse=True)
def _threads_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for work that was given up but goes on in its thread: what it has open would be there
    while the next test counts its own, and gone a moment later.
    """
    begun: list[threading.Event] = []

    def start(
        work: Callable[[], T], deliver: Callable[[Outcome[T]], object], name: str | None = None
    ) -> None:
        over = threading.Event()
        begun.append(over)

        def delivered(outcome: Outcome[T]) -> None:
            try:
                deliver(outcome)
            finally:
                over.set()

        trio.lowlevel.start_thread_soon(work, delivered, name)

    monkeypatch.setattr("trio._threads.start_thread_soon", start)
    yield
    until = time.monotonic() + THREADS_END_WITHIN
    for over in begun:
        assert over.wait(until - time.monotonic()), "a thread outlives its test"


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
