"""Replicas of the gateway as pods: whole processes, started, probed and ended as Kubernetes does.

Owns: each one's folder (its emptyDir: nothing is shared, and nothing outlives the pod), and that
none outlives its test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from tests.deploy.rehearsal.shipped import Pod
from tests.gateway_process import ROOT, GatewayLog

_START: Final = 60.0
_PROGRAM: Final = (sys.executable, "-m", "gateway")


class Replica:
    """One pod. ``log`` and ``access`` are what it has written to standard error and output."""

    def __init__(self, name: str, folder: Path, pod: Pod) -> None:
        self.name = name
        self.log = GatewayLog(folder / "gateway.log")
        self.access = GatewayLog(folder / "access.log")
        self._pod = pod
        self._folder = folder
        self._process: trio.Process | None = None
        # As the image has it.
        self._environment = {
            **os.environ,
            "STATE_DIRECTORY": str(folder / "state"),
            "REMOTING_GATEWAY_CONFIG": str(folder / "gateway.yaml"),
        }

    async def start(self, config: Mapping[str, Any]) -> None:
        """Start it; return when its probe says that it is ready."""
        path = self._folder / "gateway.yaml"
        path.write_text(json.dumps(config), "utf-8")  # JSON is YAML
        args = [
            str(path) if each == "/etc/remoting-gateway/gateway.yaml" else each
            for each in self._pod.args
        ]
        assert str(path) in args
        with (
            (self._folder / "gateway.log").open("wb") as log,
            (self._folder / "access.log").open("wb") as access,
        ):
            self._process = await trio.lowlevel.open_process(
                [*_PROGRAM, *args],
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
            )
        with trio.fail_after(_START):
            while not await self._is_ready():
                assert self._process.poll() is None, self.log.tail()
                await trio.sleep(0.5)

    async def _is_ready(self) -> bool:
        done = await trio.run_process(
            [*_PROGRAM, *self._pod.probe],
            check=False,
            capture_stdout=True,
            cwd=ROOT,
            env=self._environment,
        )
        return done.returncode == 0

    def terminate(self) -> None:
        """Send what the kubelet sends when the pod is deleted."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def wait_for_the_end(self) -> None:
        """Wait until it has ended by itself, in the time after which the kubelet would kill it."""
        assert self._process is not None
        with trio.move_on_after(self._pod.grace):
            status = await self._process.wait()
            assert status == 0, self.log.tail()
            return
        raise AssertionError(f"{self.name} would be killed: {self.log.tail()}")

    async def kill(self) -> None:
        """Leave nothing of it; its workers notice."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


class Replicas:
    """All that were ever started, oldest first."""

    def __init__(self, folder: Path, pod: Pod) -> None:
        self._folder = folder
        self._pod = pod
        self.all: list[Replica] = []

    def add(self, name: str) -> Replica:
        """Return a new one, not yet started."""
        folder = self._folder / name
        folder.mkdir()
        replica = Replica(name, folder, self._pod)
        self.all.append(replica)
        return replica


@asynccontextmanager
async def replicas_in(folder: Path, pod: Pod) -> AsyncIterator[Replicas]:
    """Have replicas for the block; whatever is left of them is killed after it."""
    replicas = Replicas(folder, pod)
    try:
        yield replicas
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
            for each in replicas.all:
                await each.kill()
