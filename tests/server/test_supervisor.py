"""The supervisor: when it restarts, when it gives up, what keeps it from starting.

Whole processes are in ``test_supervisor_processes``.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server import supervisor
from gateway.server.control import ControlStream
from gateway.server.ending import STOP_TIMEOUT
from gateway.server.supervisor import (
    ENOUGH_DESCRIPTORS,
    FIRST_PAUSE,
    KILL_AFTER,
    LONGEST_PAUSE,
    MOST_DESCRIPTORS,
    SOUND_AFTER,
    Life,
    keep_running,
    run_supervisor,
)
from tests.server.processes import HOST

KILLED = Life(-signal.SIGKILL, ready=True)
FAILED = Life(3, ready=False)


# -- keeping one worker alive ----------------------------------------------------------------------


class Workers:
    """Plays workers: ``lives`` are how long each lives (seconds) and how it ends."""

    def __init__(self, *lives: tuple[float, Life]) -> None:
        self.lives = list(lives)
        self.starts: list[float] = []

    async def run(self, stop: trio.Event) -> Life:
        self.starts.append(trio.current_time())
        if not self.lives:
            await stop.wait()
            return Life(0, ready=True)
        seconds, life = self.lives.pop(0)
        await trio.sleep(seconds)
        return life

    @property
    def pauses(self) -> list[float]:
        """Return the seconds between starts."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]


async def keep(workers: Workers, *, stop_at: float) -> int:
    """Run ``keep_running``; time begins at 0."""
    stop = trio.Event()
    status: list[int] = []

    async def run() -> None:
        status.append(await keep_running(workers.run, stop))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(stop_at)
        stop.set()
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


# -- what keeps it from starting -------------------------------------------------------------------


def config_for(folder: Path, *addresses: str) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [{"address": address} for address in addresses],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
        }
    )


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            run_supervisor(config_for(tmp_path, f"{HOST}:0", f"{HOST}:{port}"))
    text = str(caught.value)
    assert text.startswith(f"listener {HOST}:{port}: address already in use. Another program has")
    assert f"`ss -ltnp sport = :{port}`" in text


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (("file", "file exists"), ("file/state", "not a directory")):
        with pytest.raises(ConfigError) as caught:
            run_supervisor(config_for(tmp_path / path, f"{HOST}:0"))
        text = str(caught.value)
        assert text.startswith(f"state_dir: {tmp_path / path} cannot be made: {reason}; set state_")
        assert "STATE_DIRECTORY" in text


def test_a_state_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ConfigError, match=f"state_dir: {tmp_path} cannot be written; set state_"):
        run_supervisor(config_for(tmp_path, f"{HOST}:0"))


def test_a_state_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    supervisor._prepare_state_dir(config_for(tmp_path / "a" / "b", f"{HOST}:0"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "warned"),
    [
        (1024, 524_288, 524_288, False),
        (1024, 4096, 4096, True),
        (1024, ENOUGH_DESCRIPTORS, ENOUGH_DESCRIPTORS, False),
        (4096, 4096, None, True),
        (1024, 1_073_741_816, MOST_DESCRIPTORS, False),
        (1024, INFINITE, MOST_DESCRIPTORS, False),
        (2_000_000, INFINITE, None, False),
        (INFINITE, INFINITE, None, False),
    ],
)
def test_the_limit_of_open_files_is_raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: int | None, *, warned: bool
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    with capture_logs() as logs:
        supervisor._raise_descriptor_limit()
    assert limits == ([] if expected is None else [(expected, hard)])
    assert [line["limit"] for line in logs] == [expected or soft] * warned


def test_a_limit_that_cannot_be_raised_is_reported_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capture_logs() as logs:
        supervisor._raise_descriptor_limit()
    (line,) = logs
    assert line["limit"] == 1024
    assert "LimitNOFILE=" in line["remedy"]


# -- one worker ------------------------------------------------------------------------------------


class _Process:
    """A worker process that does nothing but be killed."""

    pid = 4711

    def __init__(self) -> None:
        self.killed_at: float | None = None

    def kill(self) -> None:
        self.killed_at = trio.current_time()


class Side:
    """The supervisor's side of one worker; ``control`` is the worker's end."""

    def __init__(self, folder: Path) -> None:
        self.sockets = [socket.create_server((HOST, 0))]
        self.announced = 0
        config = config_for(folder, f"{HOST}:0")
        self.starter = supervisor._Starter(config, self.sockets, self._announce)
        self.wire, near = trio.testing.memory_stream_pair()
        self.control = ControlStream(self.wire)
        self.process = _Process()
        self.worker = supervisor._Worker(ControlStream(near), cast("trio.Process", self.process))

    def _announce(self) -> None:
        self.announced += 1


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    made = Side(tmp_path)
    yield made
    made.sockets[0].close()


async def test_a_worker_that_does_not_stop_is_killed(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.starter._stop, side.worker, stop)
        await trio.sleep(100)
        assert side.sockets[0].fileno() != -1
        stop.set()
        assert await side.control.receive() == {"type": "stop"}
        assert side.sockets[0].fileno() == -1  # nobody waits in a backlog that nobody serves
        with capture_logs() as logs:
            await trio.sleep(KILL_AFTER + 1)
    assert side.process.killed_at == 100 + KILL_AFTER
    assert KILL_AFTER > STOP_TIMEOUT
    assert logs[0]["event"] == "the worker does not stop; killing it"


async def test_a_worker_that_does_not_listen_is_killed_too(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    stop = trio.Event()
    stop.set()
    near, _far = trio.testing.lockstep_stream_pair()  # its sends wait for a reader
    side.worker.control = ControlStream(near)
    await side.starter._stop(side.worker, stop)
    assert side.process.killed_at == KILL_AFTER


async def test_ready_is_announced_once(side: Side) -> None:
    port = side.sockets[0].getsockname()[1]
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.starter._talk, side.worker, [7])
            start = await side.control.receive()
            assert start is not None
            assert (start["type"], start["listeners"]) == ("start", [7])
            assert not side.worker.ready
            for message in ({"type": "hello"}, {"type": "ready"}, {"type": "ready"}):
                await side.control.send(message)
            await side.control.aclose()
    assert side.worker.ready
    assert side.announced == 1
    assert {tuple(line["listeners"]) for line in logs} == {(f"{HOST}:{port}",)}


async def test_a_worker_that_talks_nonsense_is_reported(side: Side) -> None:
    await side.wire.send_all(b"\xff\xff\xff\xff")
    with capture_logs() as logs:
        await side.starter._talk(side.worker, [])
    assert [line["event"] for line in logs] == ["the worker cannot be understood"]


async def test_a_worker_that_cannot_even_be_started(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with capture_logs() as logs:
        life = await side.starter.run_worker(trio.Event())
    assert life == Life(None, ready=False)
    assert "/nowhere/python" in logs[0]["reason"]


def test_the_working_folder_is_not_searched_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert supervisor._command(7)[1:] == ["-P", "-m", "gateway.server.worker_process", "7"]
    monkeypatch.chdir(Path(supervisor.__file__).parents[2])
    assert supervisor._command(7)[1:] == ["-m", "gateway.server.worker_process", "7"]
