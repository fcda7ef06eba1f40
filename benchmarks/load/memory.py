"""Memory of idle sessions: before they moved anything in bulk, and after.

Owns: when the proxies' memory is looked at. PSS of all processes of a proxy, less what it was after
a few sessions had come and gone; what the kernel keeps for sockets is not in it.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from benchmarks.load.setting import WARM, Setting
from benchmarks.report import Samples

NEVER: Final = "KiB/session, never in bulk"
AFTER: Final = "KiB/session, after bulk"
STORM: Final = "set-up CPU ms, 16 at a time"
PROXIES: Final = ("gateway", "haproxy", "nginx")


def measure(setting: Setting, samples: Samples, *, rounds: int) -> None:
    """Open all sessions at each proxy in turn, ``rounds`` times."""
    for number in range(rounds):
        for name in PROXIES:
            print(f"memory {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            _measure_one(setting, samples, name)


def _measure_one(setting: Setting, samples: Samples, name: str) -> None:
    sessions = setting.sizes.sessions
    with setting.proxy(name) as proxy:
        if proxy is None:
            return
        with setting.crowds(proxy, WARM, first=sessions):
            pass
        time.sleep(setting.sizes.settle)
        before, cpu = proxy.pss_bytes(), proxy.cpu_seconds()
        with setting.crowds(proxy, sessions, processes=2) as crowds:
            into = samples[name]
            into[STORM].append((proxy.cpu_seconds() - cpu) * 1000 / sessions)
            time.sleep(setting.sizes.settle)
            into[NEVER].append((proxy.pss_bytes() - before) / 1024 / sessions)
            crowds.ask(do="bulk", mib=1, together=4)
            time.sleep(setting.sizes.settle)
            into[AFTER].append((proxy.pss_bytes() - before) / 1024 / sessions)
