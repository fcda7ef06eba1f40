"""The parent's side of a single agent: one piece of work through a proxy.

Owns: starting ``peers/agent.py`` and reading what it measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

from benchmarks.peers.certificates import Certificates
from benchmarks.peers.proxies import Proxy
from benchmarks.wire import CHUNK, CHUNKS_PER_BLOCK

BLOCK: Final = len(CHUNK) * CHUNKS_PER_BLOCK


def blocks_of(mib: int) -> int:
    """Return how many blocks of chunks are about ``mib`` MiB."""
    return max(1, (mib << 20) // BLOCK)


def warm_up(proxies: Iterable[Proxy], certificates: Certificates) -> None:
    """Have a little work done, so that what a proxy still does after its start is not measured."""
    for proxy in proxies:
        for work in ("upload", "download"):
            run_agent(proxy, certificates, work, 4)
    time.sleep(1)


def run_agent(proxy: Proxy, certificates: Certificates, work: str, amount: int) -> dict[str, Any]:
    """Have an agent do ``work`` of ``amount`` (blocks or round trips); return what it says."""
    command = [sys.executable, "-m", "benchmarks.peers.agent", str(proxy.port), proxy.target]
    done = subprocess.run(
        [*command, str(certificates.authority), work, str(amount)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise SystemExit(f"{proxy.name} {work}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
