"""Workers played by the test: the supervisor's side is real, the process is not.

Owns: a process that ends when it is told to, and the worker's end of its control stream.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import trio

from gateway.server.children import Child
from gateway.server.control import ControlStream, Message
from gateway.server.processes import Process

_PIDS = itertools.count(1001)


class PlayedProcess:
    """Stands in for ``processes.Process``."""

    def __init__(self) -> None:
        self.pid = next(_PIDS)
        self.status: int | None = None
        self.is_let_go = False
        self.hang_up: Callable[[], None] = lambda: None
        self._ended = trio.Event()

    async def wait(self) -> int:
        """Wait for ``end``."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    @property
    def has_ended(self) -> bool:
        """Say whether it has."""
        return self.status is not None

    def end(self, status: int) -> None:
        """End with ``status``."""
        if self.status is None:
            self.status = status
            self._ended.set()

    def kill(self) -> None:
        """Be killed: the kernel closes what it has open."""
        self.hang_up()
        self.end(-signal.SIGKILL)

    def let_go(self) -> None:
        """Be given away."""
        self.is_let_go = True


class PlayedWorker:
    """A worker: ``control`` is its end, ``start`` what it was told first."""

    def __init__(self, control: ControlStream) -> None:
        self.process = PlayedProcess()
        self.control = control

    async def receive(self) -> Message:
        """Return the next message to it."""
        message = await self.control.receive()
        assert message is not None
        return message

    async def expect(self, kind: str) -> Message:
        """Return the next message, which must be of that type."""
        message = await self.receive()
        assert message["type"] == kind, message
        return message

    async def become_ready(self) -> Message:
        """Take the start message, and say ready."""
        start = await self.expect("start")
        await self.control.send({"type": "ready"})
        return start

    async def die(self, status: int = -signal.SIGKILL) -> None:
        """End, with its end of the control stream."""
        await self.control.aclose()
        self.process.end(status)


class Stage:
    """Starts played workers in place of processes; ``workers`` are all so far."""

    def __init__(self) -> None:
        self.workers: list[PlayedWorker] = []
        self.passed: list[tuple[int, ...]] = []
        self.is_broken = False
        self._more = trio.Event()

    def start(self, command: Sequence[str], *, pass_fds: Sequence[int]) -> Process:
        """Start one, as ``processes.start`` does."""
        if self.is_broken:
            raise OSError("no such program")
        theirs = socket.socket(fileno=os.dup(int(command[-1])))
        wire = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        worker = PlayedWorker(ControlStream(wire))
        worker.process.hang_up = partial(theirs.shutdown, socket.SHUT_RDWR)
        self.workers.append(worker)
        self.passed.append(tuple(pass_fds))
        self._more.set()
        self._more = trio.Event()
        return cast("Process", worker.process)

    async def worker(self, number: int) -> PlayedWorker:
        """Return the worker of that number, once it was started."""
        while len(self.workers) <= number:
            await self._more.wait()
        return self.workers[number]


def played_child(slot: int = 0) -> tuple[Child, PlayedWorker]:
    """Return the supervisor's side of a worker, and the worker."""
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair())
    worker = PlayedWorker(ControlStream(trio.SocketStream(theirs)))
    process = cast("Process", worker.process)
    return Child(slot, 1, process, ours, ControlStream(trio.SocketStream(ours)), 1), worker
