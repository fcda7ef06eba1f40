"""Child processes: starting one, taking one over by its id, and hearing of its end.

Owns: that a child is reaped once and by us, however it came to be ours: an upgraded supervisor has
children that another program started.

Must not know: what a child does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from gateway.runtime.memory import allocator_environment


class Process:
    """A child of this process, until it is reaped by ``wait``."""

    def __init__(self, pid: int) -> None:
        """Take over the child ``pid``; OSError if it is none. It may have ended already."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._status: int | None = None
        self._reaping = trio.Lock()

    async def wait(self) -> int:
        """Wait for its end; return the exit status, negative for a signal. May be cancelled."""
        async with self._reaping:
            if self._status is None:
                await trio.lowlevel.wait_readable(self._pidfd)
                _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222 (it has ended)
                self._status = os.waitstatus_to_exitcode(status)
                os.close(self._pidfd)
        return self._status

    @property
    def has_ended(self) -> bool:
        """Say whether it has been reaped: its id may be somebody else's now."""
        return self._status is not None

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def let_go(self) -> None:
        """Forget it without reaping: whoever runs next in this process takes it over."""
        if self._status is None:
            os.close(self._pidfd)


def start(command: Sequence[str], *, pass_fds: Sequence[int], stderr: int | None = None) -> Process:
    """Start a child in a process group of its own, so that Ctrl-C reaches this process alone.

    ``stderr``: a descriptor in place of ours. Raises OSError.
    """
    popen = subprocess.Popen(
        command,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        process_group=0,
        env=os.environ | allocator_environment(),
    )
    try:
        process = Process(popen.pid)
    except OSError:  # out of descriptors
        popen.kill()
        popen.wait()
        raise
    # Popen would reap it, too, were it to believe that it still runs.
    popen.returncode = 0
    return process


def python(module: str, *arguments: str) -> list[str]:
    """Return the command line of one of this program's modules.

    -m would look for every module in the working folder first, which may be anybody's: it may only
    where this program itself lies there (a checkout that is not installed).
    """
    safe = [] if _is_here(Path(__file__).parents[2]) else ["-P"]
    return [sys.executable, *safe, "-m", module, *arguments]


def _is_here(folder: Path) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # one of them has been removed meanwhile
        return False
