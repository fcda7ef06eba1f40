"""Two hundred sessions that each have a little to say, twenty times a second.

Owns: that work. Half of the sessions send a message every 50 ms, spread over these 50 ms, the other
half are sent one. The work is the same for every proxy and does not fill a core, so that CPU
seconds compare.
"""

from __future__ import annotations

from typing import Final

from benchmarks.peers.certificates import Certificates
from benchmarks.peers.crowds import Crowds
from benchmarks.peers.proxies import Proxy

SESSIONS: Final = 200
SIZE: Final = 2048
EVERY: Final = 0.05
MIXED: Final = "mixed, CPU us/message"
BUSY: Final = "mixed, busy"
LATE: Final = "mixed, generator late by at most ms"


def measure(
    proxy: Proxy, certificates: Certificates, into: dict[str, list[float]], *, seconds: float
) -> None:
    """Have messages sent for so many seconds."""
    crowds = Crowds(proxy, certificates)
    try:
        crowds.open(SESSIONS, together=8)
        before = proxy.cpu_seconds()
        (answer,) = crowds.ask(do="messages", size=SIZE, every=EVERY, seconds=seconds)
        cpu = proxy.cpu_seconds() - before
    finally:
        crowds.stop()
    into[MIXED].append(cpu * 1e6 / answer["messages"])
    into[BUSY].append(cpu / answer["took"])
    into[LATE].append(answer["latest"] * 1000)
