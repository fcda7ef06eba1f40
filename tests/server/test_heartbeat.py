"""What systemd hears from a whole gateway, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from gateway.server.heartbeat import watchdog_interval
from tests.server.processes import AT_ONCE, PATIENCE, STARTED, Gateway, running_gateway

# Twice as often as a ping: short enough for a test, and long beside what a busy machine takes.
WATCHDOG: Final = 2.0


class Receiver:
    """A service manager's end: every datagram, in order."""

    def __init__(self, address: str) -> None:
        self._socket = trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._raw = address
        self.messages: list[list[str]] = []

    async def __aenter__(self) -> Receiver:
        address = self._raw
        await self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        return self

    async def __aexit__(self, *args: object) -> None:
        self._socket.close()

    async def next(self, first: str, *, within: float = PATIENCE) -> list[str]:
        """Return the next message whose first line begins with ``first``."""
        with trio.fail_after(within):
            while True:
                lines = (await self._socket.recv(4096)).decode().split("\n")
                self.messages.append(lines)
                if lines[0].startswith(first):
                    return lines

    async def silence(self, first: str, *, lasts: float) -> bool:
        """Say whether nothing with ``first`` comes, once what was under way has come."""
        with trio.move_on_after(lasts):
            await self.next(first)
            return False
        return True


@asynccontextmanager
async def gateway(
    folder: Path, address: str, *, more: str = "", watchdog: float | None = None
) -> AsyncIterator[tuple[Gateway, Receiver]]:
    environ = {**os.environ, "NOTIFY_SOCKET": address}
    if watchdog is not None:
        environ["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
    async with (
        Receiver(address) as receiver,
        running_gateway(folder, "http://127.0.0.1:9", more=AT_ONCE + more, env=environ) as running,
    ):
        yield running, receiver


@pytest.mark.parametrize("kind", ["path", "abstract"])
async def test_from_start_to_stop(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@remoting-gateway-{os.getpid()}"
    async with gateway(tmp_path, address) as (running, systemd):
        assert await systemd.next("READY") == ["READY=1", "STATUS=serving, configuration 1"]
        config = tmp_path / "gateway.yaml"
        good = config.read_text()

        before = _monotonic_usec()
        config.write_text(good + "limits: {connections: 100}\n")
        running.signal(signal.SIGHUP)
        reloading, at = await systemd.next("RELOADING")
        assert reloading == "RELOADING=1"
        assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= _monotonic_usec()
        assert await systemd.next("READY") == ["READY=1", "STATUS=serving, configuration 2"]

        config.write_text(good + "nonsense: 1\n")
        running.signal(signal.SIGHUP)
        await systemd.next("RELOADING")
        _, status = await systemd.next("READY")
        assert status == "STATUS=serving, configuration 2; reload failed"

        config.write_text(good)
        running.signal(signal.SIGUSR2)
        await systemd.next("RELOADING")
        ready = await systemd.next("READY")
        # The same process: systemd need not be told another MAINPID.
        await running.running.wait_for("upgraded")
        assert ready[0] == "READY=1"
        assert not any("MAINPID" in line for each in systemd.messages for line in each)

        running.signal(signal.SIGTERM)
        assert await systemd.next("STOPPING") == ["STOPPING=1", "STATUS=stopping"]
        extend, left = await systemd.next("EXTEND_TIMEOUT_USEC")
        assert extend == "EXTEND_TIMEOUT_USEC=30000000"
        assert left.startswith("STATUS=stopping: 0 sessions, ")
        assert await running.running.wait() == 0
        # Without a watchdog nobody pings it.
        assert not any("WATCHDOG=1" in each for each in systemd.messages)


def _monotonic_usec() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


async def test_the_watchdog_is_pinged_while_somebody_answers(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    async with gateway(tmp_path, address, more="workers: 2\n", watchdog=WATCHDOG) as (
        running,
        systemd,
    ):
        await running.running.wait_for(STARTED, count=2)
        first, second = (int(each["worker"]) for each in running.running.all(STARTED))
        for _ in range(3):
            await systemd.next("WATCHDOG=1", within=WATCHDOG * 5)

        # One of two that hangs is the supervisor's business.
        os.kill(first, signal.SIGSTOP)
        for _ in range(3):
            await systemd.next("WATCHDOG=1", within=WATCHDOG * 5)

        # With nobody left to answer the gateway is not alive.
        os.kill(second, signal.SIGSTOP)
        await systemd.silence("WATCHDOG=1", lasts=WATCHDOG)  # a ping that was under way
        assert await systemd.silence("WATCHDOG=1", lasts=WATCHDOG * 2)
        os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGCONT)
        await systemd.next("WATCHDOG=1", within=WATCHDOG * 5)

        # A supervisor that hangs says nothing.
        running.signal(signal.SIGSTOP)
        await systemd.silence("WATCHDOG=1", lasts=WATCHDOG / 4)
        assert await systemd.silence("WATCHDOG=1", lasts=WATCHDOG * 2)
        running.signal(signal.SIGCONT)
        await systemd.next("WATCHDOG=1", within=WATCHDOG * 5)
        running.signal(signal.SIGTERM)
        assert await running.running.wait() == 0


async def test_a_replaced_worker_and_an_upgrade_leave_no_gap(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    async with gateway(tmp_path, address, watchdog=WATCHDOG * 3) as (running, systemd):
        await systemd.next("WATCHDOG=1")
        os.kill(running.worker, signal.SIGKILL)
        await systemd.next("WATCHDOG=1", within=WATCHDOG * 3)
        await running.running.wait_for(STARTED, count=2)
        running.signal(signal.SIGUSR2)
        await running.running.wait_for("replacing the program")
        await systemd.next("WATCHDOG=1", within=WATCHDOG * 3)
        await running.running.wait_for("upgraded")
        running.signal(signal.SIGTERM)
        assert await running.running.wait() == 0


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ) == interval
