"""How much a process holds: descriptors and memory, as the kernel counts them.

Linux only, like the gateway itself. Nothing is asked of the process that is watched.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import trio

MIB: Final = 1024 * 1024


class ProcessWatch:
    """Watch one process by its id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def descriptors(self) -> int:
        """How many descriptors are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def memory(self) -> int:
        """Anonymous resident memory in bytes: what the process itself has asked for.

        Not the whole of RSS or PSS: the pages of shared files come and go with other processes.
        """
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "RssAnon":
                return int(value.split()[0]) * 1024
        raise AssertionError("the kernel does not say RssAnon")

    def open_files(self) -> Counter[str]:
        """Return the kinds of what is open: ``socket``, ``pipe``, a path."""
        kinds: Counter[str] = Counter()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except FileNotFoundError:  # closed meanwhile
                continue
            kinds[target.partition(":[")[0]] += 1
        return kinds

    async def wait_for_descriptors(self, expected: int, *, within: float = 15.0) -> None:
        """Wait until exactly ``expected`` descriptors are open; fail after ``within`` seconds."""
        deadline = trio.current_time() + within
        while True:
            now = self.descriptors
            if now == expected:
                return
            assert trio.current_time() < deadline, f"{now}, not {expected}: {self.open_files()}"
            await trio.sleep(0.01)

    async def wait_for_memory(self, most: int, *, within: float) -> None:
        """Wait until no more than ``most`` bytes are held; fail after ``within`` seconds."""
        deadline = trio.current_time() + within
        while True:
            now = self.memory
            if now <= most:
                return
            assert trio.current_time() < deadline, f"{now / MIB:.1f} MiB, not {most / MIB:.1f}"
            await trio.sleep(0.1)


def allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files of this process to ``count``, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"needs {count} open files, and {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
