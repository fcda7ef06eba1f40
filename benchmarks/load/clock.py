"""What work costs a proxy that is not otherwise idle.

Owns: taking off what it needs while nobody works.
"""

from __future__ import annotations

import time

from benchmarks.peers.proxies import Proxy


class Clock:
    """The CPU seconds of ``proxy`` from now on, but for ``idle`` of each second that passes."""

    def __init__(self, proxy: Proxy, idle: float) -> None:
        self._proxy = proxy
        self._idle = idle
        self._began = time.monotonic()
        self._before = proxy.cpu_seconds()

    def cpu_seconds(self) -> float:
        taken = time.monotonic() - self._began
        return self._proxy.cpu_seconds() - self._before - self._idle * taken
