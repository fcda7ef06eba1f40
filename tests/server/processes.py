"""Whole processes for tests: a gateway under its supervisor, and a worker on its own.

Owns: starting them, reading their log lines, and that none outlives its test. Standard error is
inherited by workers, so its end says that every process is gone.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from gateway.config.models import GatewayConfig
from gateway.server.control import ControlStream
from tests.certificates import write
from tests.log_lines import parse_line

HOST = "127.0.0.1"
STARTED = "worker is serving"
# Far more than anything here takes: the machine may be busy with something else.
PATIENCE = 20.0

# Nobody is to wait for sessions that end one after the other.
AT_ONCE = "shutdown: {drain_spread: 0s}\n"

Line = dict[str, Any]


@dataclass
class Running:
    """A process and what it has logged, JSON lines as dictionaries."""

    process: trio.Process
    lines: list[Line] = field(default_factory=list)
    silent: trio.Event = field(default_factory=trio.Event)  # it and its workers are gone
    _more: trio.Event = field(default_factory=trio.Event)

    async def read_log(self) -> None:
        """Collect log lines until the end, as a task of the test's nursery."""
        assert self.process.stderr is not None
        rest = b""
        async for data in self.process.stderr:
            *whole, rest = (rest + data).split(b"\n")
            self.lines += map(_line, whole)
            self._more.set()
            self._more = trio.Event()
        self.silent.set()

    async def wait_for(self, event: str, *, count: int = 1, within: float = PATIENCE) -> Line:
        """Return the ``count``-th line of ``event``, once it is there."""
        found: list[Line] = []
        with trio.move_on_after(within):
            while len(found := self.all(event)) < count:
                await self._more.wait()
        if len(found) < count:
            last = "\n".join(str(line) for line in self.lines[-30:])
            raise trio.TooSlowError(f"no {event!r} within {within:g} s; the last lines:\n{last}")
        return found[count - 1]

    def all(self, event: str) -> list[Line]:
        """Return the lines of ``event`` so far."""
        return [line for line in self.lines if line["event"] == event]

    async def wait(self) -> int:
        """Wait for the process and all that it started; return its exit status."""
        with trio.fail_after(PATIENCE):
            status = await self.process.wait()
            await self.silent.wait()
        return status


def _line(data: bytes) -> Line:
    try:
        line: Line = parse_line(data)
    except ValueError:  # a traceback, a warning: tests see it and fail
        return {"event": data.decode(errors="replace")}
    return line


@asynccontextmanager
async def started(command: Sequence[str], folder: Path, **options: Any) -> AsyncIterator[Running]:
    """Start a process in ``folder``; when the block is left, it is killed if it still runs."""
    process = await trio.lowlevel.open_process(
        command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options
    )
    running = Running(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.read_log)
            yield running
            if process.returncode is None:
                process.kill()
            await running.wait()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            if process.returncode is None:
                process.kill()
            await process.wait()
            assert process.stderr is not None
            await process.stderr.aclose()


class Gateway:
    """``remoting-gateway run``, with a plain and a TLS listener."""

    def __init__(self, running: Running, ready: Line) -> None:
        self.running = running
        self.ready = ready
        self.plain, self.tls = (int(each.rpartition(":")[2]) for each in ready["listeners"])

    @property
    def worker(self) -> int:
        """The process id of the worker started last."""
        return int(self.running.all(STARTED)[-1]["worker"])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.running.process.send_signal(number)


@asynccontextmanager
async def running_gateway(
    folder: Path, url: str, *, more: str = AT_ONCE, agents: str = "{}", **options: Any
) -> AsyncIterator[Gateway]:
    """Run the gateway in front of the controller at ``url``, from a configuration file.

    ``more``: further lines of it; ``agents``: what it says of the controller's agents.
    """
    write(folder, HOST)
    path = folder / "gateway.yaml"
    path.write_text(
        f"state_dir: state\n"
        f"listeners:\n"
        f'  - address: "{HOST}:0"\n'
        f'  - address: "{HOST}:0"\n'
        f"    tls: {{certificates: [{{certificate: {HOST}.crt, key: {HOST}.key}}]}}\n"
        f'controllers: {{main: {{url: "{url}", agents: {agents}}}}}\n'
        f"{more}"
    )
    command = [sys.executable, "-m", "gateway", "run", "-c", str(path)]
    async with started(command, folder, **options) as running:
        yield Gateway(running, await running.wait_for(STARTED))


@asynccontextmanager
async def running_worker(
    config: GatewayConfig, listeners: Sequence[socket.socket], folder: Path
) -> AsyncIterator[tuple[Running, ControlStream]]:
    """Run a worker alone, told to start with ``listeners``; yield it and its supervisor's end."""
    ours, theirs = socket.socketpair()
    control = ControlStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    fds = [sock.fileno() for sock in listeners]
    command = [sys.executable, "-m", "gateway.server.worker_process", str(theirs.fileno())]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(control.aclose)
        with theirs:
            running = await stack.enter_async_context(
                started(command, folder, pass_fds=(theirs.fileno(), *fds))
            )
        snapshot = config.model_dump(mode="json")
        await control.send({"type": "start", "snapshot": snapshot, "listeners": fds})
        yield running, control
