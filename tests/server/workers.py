"""A worker in this process, on real sockets, with the supervisor's end of its control stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from gateway.config.models import GatewayConfig
from gateway.server.control import ControlStream
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener, bind
from tests.certificates import tls_config

HOST = "127.0.0.1"


def make_config(
    folder: Path, url: str | None = "http://127.0.0.1:9/", **more: Any
) -> GatewayConfig:
    """Return a configuration with two listeners, the first plain, the second with TLS."""
    return GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [
                {"address": f"{HOST}:0"},
                {"address": f"{HOST}:0", "tls": tls_config(folder, HOST).model_dump()},
            ],
            "controllers": {"main": {"url": url}},
            **more,
        }
    )


class Worker:
    """A running worker: ``control`` is the supervisor's end, ``ended`` is set when it is done."""

    def __init__(self, config: GatewayConfig) -> None:
        self.wire, near = trio.testing.memory_stream_pair()
        self.control = ControlStream(self.wire)
        self.config = config
        self.bound = [
            BoundListener(listener, trio.socket.from_stdlib_socket(bind(listener)))
            for listener in config.listeners
        ]
        self.plain, self.tls = (listener.port for listener in self.bound)
        self.ended = trio.Event()
        self._near = ControlStream(near)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve, as a task of the test's nursery."""
        await serve(self.bound, self.config, self._near, task_status=task_status)
        self.ended.set()

    async def stop(self) -> None:
        """Give the word to stop."""
        await self.control.send({"type": "stop"})

    def is_closed(self) -> bool:
        """Say whether every listening socket is closed."""
        return all(listener.socket.fileno() == -1 for listener in self.bound)


@asynccontextmanager
async def running_worker(config: GatewayConfig) -> AsyncIterator[Worker]:
    """Run a worker inside the block, and end it with the block if it still runs."""
    worker = Worker(config)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        assert await worker.control.receive() == {"type": "ready"}
        yield worker
        nursery.cancel_scope.cancel()
