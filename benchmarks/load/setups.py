"""What it costs to set a session up: TLS in, the upgrade, credentials, JNLP4 with TLS out.

Owns: agents that come one after the other, at proxies that have just been warmed up by the same
ones: a secret's first use, which the gateway writes down, is once in its life. HAProxy and nginx do
both TLS handshakes and pass the upgrade on; nobody's credentials are their business.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Final

from benchmarks.load.clock import Clock
from benchmarks.load.memory import PROXIES
from benchmarks.load.setting import Setting
from benchmarks.peers.proxies import Proxy
from benchmarks.report import Samples

SETUP: Final = "set-up CPU ms, one by one"


def measure(setting: Setting, samples: Samples, versions: dict[str, str]) -> None:
    """Open sessions in paired rounds; note the proxies' ``versions`` too."""
    sizes = setting.sizes
    with ExitStack() as stack:
        started = [stack.enter_context(setting.proxy(name)) for name in PROXIES]
        proxies = [proxy for proxy in started if proxy is not None]
        versions.update({proxy.name: proxy.version for proxy in proxies})
        for proxy in proxies:
            set_up(setting, proxy, first=sizes.sessions)
        for number in range(sizes.runs):
            for proxy in proxies:
                print(f"set-up {number + 1} of {sizes.runs}: {proxy.name}", file=sys.stderr)
                samples[proxy.name][SETUP].append(set_up(setting, proxy, first=sizes.sessions))


def set_up(setting: Setting, proxy: Proxy, *, first: int, idle: float = 0.0) -> float:
    """Return the CPU milliseconds of a session, of some that come one after the other.

    ``idle``: the CPU seconds a second of those that are there already.
    """
    sizes = setting.sizes
    with setting.crowds(proxy, 0, first=first) as crowds:
        clock = Clock(proxy, idle)
        crowds.open(sizes.setups, together=1)
        return clock.cpu_seconds() * 1000 / sizes.setups
