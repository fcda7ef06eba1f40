"""What a process tree costs: CPU seconds and memory.

Owns: walking the tree, and the wish for enough descriptors.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.report import Unavailable

_TICK: Final = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED: Final = 2  # include/linux/posix-timers_types.h


def tree(pid: int) -> Iterator[int]:
    """Yield ``pid`` and all that descend from it."""
    yield pid
    # Every thread has children of its own, and a supervisor may start workers from any.
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Return user + system seconds of the tree so far: threads that have ended and children that
    were waited for included.
    """
    return sum(time.clock_gettime(_clock_of(each)) + _ended_children(each) for each in tree(pid))


def _ended_children(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICK


def _clock_of(pid: int) -> int:
    # As clock_getcpuclockid(3) makes it: /proc/PID/stat has the same time, in steps of 10 ms.
    return (~pid << 3) | _CPUCLOCK_SCHED


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of the tree: memory that is shared counts once."""
    total = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def need_descriptors(number: int) -> None:
    """Raise the limit of this process and its children; Unavailable if that is too low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        raise Unavailable(
            f"{number} open files are needed, {hard} are allowed: raise `ulimit -Hn`, or take fewer"
            " sessions (--sessions)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(number, min(hard, 1 << 20)), hard))
