"""systemd's watchdog (WatchdogSec=): a sign of life while the supervisor's loop turns.

Owns: WATCHDOG_USEC and WATCHDOG_PID, sd_watchdog_enabled(3). systemd kills and restarts a service
that has said nothing for that long; the pace is half of it, as the manual advises. The variables
stay where they are, since an upgrade is the same process with another program.

Must not know: whether workers live, who restarts those by itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import trio

from gateway.server.service_manager import notify


def interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often a sign of life is due, in seconds; None where nobody waits for one."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    process = environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    # Without a process id it is for whoever gets it.
    if process and process != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 / 2


async def run() -> None:
    """Give signs of life until cancelled; return at once where nobody waits for them."""
    pace = interval()
    while pace is not None:
        notify("WATCHDOG=1")
        await trio.sleep(pace)
