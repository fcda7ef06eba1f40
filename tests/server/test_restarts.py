"""When a dead worker is replaced, and when the first one's death is final."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.server.restarts import FIRST_PAUSE, LONGEST_PAUSE, SOUND_AFTER, Life, keep_running

KILLED = Life(-signal.SIGKILL, ready=True)
FAILED = Life(3, ready=False)


# -- keeping one worker alive ----------------------------------------------------------------------


class Workers:
    """Plays workers: ``lives`` are how long each lives (seconds) and how it ends."""

    def __init__(self, *lives: tuple[float, Life]) -> None:
        self.lives = list(lives)
        self.starts: list[float] = []
        self.stop = trio.Event()

    async def run(self) -> Life:
        self.starts.append(trio.current_time())
        if not self.lives:
            await self.stop.wait()
            return Life(0, ready=True)
        seconds, life = self.lives.pop(0)
        await trio.sleep(seconds)
        return life

    @property
    def pauses(self) -> list[float]:
        """Return the seconds between starts."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]


async def keep(workers: Workers, *, stop_at: float, served: bool = False) -> int:
    """Run ``keep_running``; time begins at 0."""
    status: list[int] = []

    async def run() -> None:
        status.append(await keep_running(workers.run, workers.stop, served=served))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(stop_at)
        workers.stop.set()
    return status[0]


async def test_a_worker_that_dies_is_replaced_ever_more_slowly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers(*[(0.0, KILLED)] * 8)
    with capture_logs() as logs:
        assert await keep(workers, stop_at=1000) == 0
    assert workers.pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (FIRST_PAUSE, LONGEST_PAUSE) == (1, 30)
    assert [line["pause_s"] for line in logs] == workers.pauses
    assert {line["event"] for line in logs} == {"the worker died; starting another"}
    assert {line["worker_ended"] for line in logs} == {"killed by SIGKILL"}


async def test_after_a_long_life_the_pause_is_short_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers(*[(0.0, KILLED)] * 3, (SOUND_AFTER, KILLED), (0.0, KILLED))
    assert await keep(workers, stop_at=1000) == 0
    assert workers.pauses == [1, 2, 4, SOUND_AFTER + 1, 2]


async def test_the_first_worker_must_become_ready(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers((0.5, FAILED))
    with capture_logs() as logs:
        assert await keep(workers, stop_at=10) == 1
    assert workers.starts == [0]
    (line,) = logs
    assert line["event"] == "the worker did not become ready; giving up"
    assert line["worker_ended"] == "exit status 3"


async def test_after_an_upgrade_not_even_the_first_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The old program's workers still serve."""
    workers = Workers(*[(0.5, FAILED)] * 3)
    assert await keep(workers, stop_at=10, served=True) == 0
    assert workers.pauses == [1.5, 2.5, 4.5]


async def test_later_ones_need_not(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers((0.0, KILLED), (0.0, FAILED), (0.0, Life(None, ready=False)))
    assert await keep(workers, stop_at=1000) == 0
    assert workers.pauses == [1, 2, 4]


async def test_stopping_does_not_wait_for_a_pause(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers(*[(0.0, KILLED)] * 6)
    assert await keep(workers, stop_at=40) == 0
    assert trio.current_time() == 40
    assert len(workers.starts) == 6


@pytest.mark.parametrize(
    ("life", "status"),
    [
        (Life(0, ready=True), 0),
        (Life(0, ready=False), 0),
        (Life(1, ready=True), 1),
        (Life(-signal.SIGKILL, ready=True), 1),
        # The signal was for the whole group, and came before the worker could ignore it.
        (Life(-signal.SIGTERM, ready=False), 0),
        (Life(-signal.SIGINT, ready=False), 0),
        (Life(-signal.SIGTERM, ready=True), 1),
        (Life(3, ready=False), 1),
        (Life(None, ready=False), 1),
    ],
)
async def test_the_exit_status_tells_whether_stopping_was_orderly(
    life: Life, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    assert await keep(Workers((10, life)), stop_at=5) == status
    assert trio.current_time() == 10


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (None, "not started"),
    ],
)
def test_how_a_life_ended_in_words(status: int | None, text: str) -> None:
    assert str(Life(status, ready=True)) == text
