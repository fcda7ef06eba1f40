"""How many workers there are to be.

Owns: what ``auto`` means on this machine.

Must not know: workers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gateway.config.models import GatewayConfig
from gateway.config.processes import MOST_WORKERS

_CGROUP: Final = Path("/sys/fs/cgroup/cpu.max")


def worker_count(config: GatewayConfig, *, cgroup: Path = _CGROUP) -> int:
    """Return how many workers ``config`` asks for; ``auto`` is one a processor that we may use.

    That is the least of what the scheduler lets us run on and, rounded up, of the processor time
    that a container is given (``cpu.max``): a limit of two on a machine of 64 makes two.
    """
    if config.workers != "auto":
        return config.workers
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup.read_text("ascii").split()
        if quota != "max":
            count = min(count, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no limit, or an older kernel's, which says it elsewhere
    return max(1, min(count, MOST_WORKERS))
