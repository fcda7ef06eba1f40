"""Children: their end is heard of once, whoever started them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from gateway.server import processes
from gateway.server.processes import Process, python, start

SLEEPING = [sys.executable, "-c", "import time; time.sleep(60)"]


def ending_with(status: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({status})"]


async def test_the_exit_status() -> None:
    process = start(ending_with(3), pass_fds=())
    assert await process.wait() == 3
    assert await process.wait() == 3
    process.kill()  # nothing happens
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # noqa: ASYNC222


async def test_a_killed_one() -> None:
    process = start(SLEEPING, pass_fds=())
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_several_may_wait_and_give_up() -> None:
    process = start(SLEEPING, pass_fds=())
    with trio.move_on_after(0.01):
        await process.wait()
    found: list[int] = []

    async def wait() -> None:
        found.append(await process.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        process.kill()
    assert found == [-signal.SIGKILL] * 2


async def test_another_one_takes_a_child_over_even_if_it_has_ended() -> None:
    before = len(os.listdir("/proc/self/fd"))
    first = start(ending_with(4), pass_fds=())
    await trio.lowlevel.wait_readable(first._pidfd)
    first.let_go()
    second = Process(first.pid)
    assert await second.wait() == 4
    second.let_go()
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_a_child_that_is_there_can_be_taken_over() -> None:
    with pytest.raises(OSError, match="process"):
        Process(2**22 + 1)  # beyond the kernel's greatest


async def test_ctrl_c_does_not_reach_it_and_it_has_what_was_passed() -> None:
    reading, writing = os.pipe()
    code = f"import os; os.write({writing}, str(os.getpgid(0)).encode())"
    process = start([sys.executable, "-c", code], pass_fds=(writing,))
    os.close(writing)
    assert await process.wait() == 0
    assert os.read(reading, 100) == str(process.pid).encode()
    os.close(reading)


def test_what_cannot_be_started() -> None:
    with pytest.raises(OSError, match="nowhere"):
        start(["/nowhere/python"], pass_fds=())


def test_the_working_folder_is_not_searched_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert python("gateway.x", "7")[1:] == ["-P", "-m", "gateway.x", "7"]
    monkeypatch.chdir(Path(processes.__file__).parents[2])
    assert python("gateway.x", "7")[1:] == ["-m", "gateway.x", "7"]


def test_a_working_folder_that_has_been_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers must be restarted all the same."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert python("gateway.x")[1:] == ["-P", "-m", "gateway.x"]


def test_one_that_cannot_be_watched_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def fail(pid: int) -> int:
        started.append(pid)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        start(SLEEPING, pass_fds=())
    with pytest.raises(ChildProcessError):  # it has ended and is reaped
        os.waitpid(started[0], os.WNOHANG)
