"""What all parts of the load benchmark run in: far ends, issued secrets, proxies and crowds.

Owns: starting them, and stopping them in an order in which each can end by itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.certificates import Certificates, make_certificates
from benchmarks.peers.crowd import secret_of
from benchmarks.peers.crowds import Crowds, End
from benchmarks.peers.processes import need_descriptors
from benchmarks.peers.proxies import (
    Proxy,
    start_gateway_with_nodes,
    start_haproxy,
    start_nginx,
)
from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore

# What single agents (``peers/agent.py``) present.
_SINGLE_NODE, _SINGLE_SECRET = "bench", "0" * 64
_TOGETHER: Final = 16
WARM: Final = 32


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. ``growth`` are the numbers of sessions that are compared; ``settle`` are
    seconds before memory is looked at, so that what is freed late is free.
    """

    sessions: int
    runs: int
    idle_seconds: int
    setups: int
    batches: int
    mib: int
    settle: float

    @property
    def growth(self) -> tuple[int, ...]:
        return (*[each for each in (1, 100, 1000) if each < self.sessions], self.sessions)

    @property
    def nodes(self) -> int:
        """How many secrets are issued: those who stay, who warm up, newcomers of every round."""
        return self.sessions + WARM + (self.runs + 1) * self.setups


class Setting:
    """Far ends that run, and what proxies and crowds are started with."""

    def __init__(self, folder: Path, sizes: Sizes, stack: ExitStack) -> None:
        self.sizes = sizes
        self.certificates: Certificates = make_certificates(folder)
        self._folder = folder
        self._store = folder / "store"
        _issue(self._store, sizes.nodes)
        self._controller, self._origin = End("controller", folder), End("origin", folder)
        stack.callback(self._controller.stop)
        stack.callback(self._origin.stop)
        self._started = 0

    @contextmanager
    def gateway(self, *, workers: int = 1) -> Iterator[Proxy]:
        folder = self._next_folder()
        state = folder / "state"
        shutil.copytree(self._store, state)
        proxy = start_gateway_with_nodes(
            folder, self.certificates, self._controller.port, state, workers=workers
        )
        try:
            yield proxy
        finally:
            proxy.stop()

    @contextmanager
    def peer(self, name: str) -> Iterator[Proxy | None]:
        """Yield ``haproxy`` or ``nginx``; None where it is not installed."""
        start = {"haproxy": start_haproxy, "nginx": start_nginx}[name]
        proxy = start(self._next_folder(), self.certificates, self._origin.port)
        try:
            yield proxy
        finally:
            if proxy is not None:
                proxy.stop()

    @contextmanager
    def proxy(self, name: str) -> Iterator[Proxy | None]:
        """Yield the gateway or a peer by its name."""
        with self.gateway() if name == "gateway" else self.peer(name) as proxy:
            yield proxy

    @contextmanager
    def crowds(
        self, proxy: Proxy, sessions: int, *, first: int = 0, processes: int = 1
    ) -> Iterator[Crowds]:
        """Yield agents that are connected, ``sessions`` in all, and disconnect them in the end."""
        crowds = Crowds(
            proxy, self.certificates, processes=processes, first=first, most=sessions // processes
        )
        try:
            crowds.open(sessions, together=_TOGETHER)
            yield crowds
        finally:
            crowds.stop()

    def _next_folder(self) -> Path:
        self._started += 1
        folder = self._folder / f"proxy-{self._started}"
        folder.mkdir()
        return folder


@contextmanager
def setting(sizes: Sizes) -> Iterator[Setting]:
    """Yield the far ends and secrets for ``sizes``."""
    # A session takes two descriptors of its proxy; logs, listeners and newcomers take the rest.
    need_descriptors(2 * (sizes.sessions + sizes.setups) + 500)
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-"))
        yield Setting(Path(name), sizes, stack)


def _issue(folder: Path, nodes: int) -> None:
    folder.mkdir()
    store = SqliteNodeStore(folder)
    desk = Issuing(store, folder / "store.key", operator="benchmark")
    for node in (f"load-{number}" for number in range(nodes)):
        desk.issue("main", node, upstream="0" * 64, secret=secret_of(node))
    desk.issue("main", _SINGLE_NODE, upstream="0" * 64, secret=_SINGLE_SECRET)
    store.close()
