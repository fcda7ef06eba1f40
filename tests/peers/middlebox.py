"""A TCP middle-box that does to connections what networks do: delay, trickle, cut, forget, lie.

Owns: one listening port in front of one target, and what happens to the bytes of each connection,
per direction and at any moment. Below TLS: it never knows what the bytes mean.

    box = Middlebox(target, down=Lane(after=100, fault=Fault.RESET))
    await nursery.start(box.run)
    ... connect to box.port ...
    crossing = await box.wait_for_crossing()
    crossing.strike(Fault.BLACK_HOLE)

``up`` is the direction of whoever connects, ``down`` the answers'.
"""

from __future__ import annotations

import math
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

import trio

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_PIECE: Final = 65536
# Pieces that may be on their way at a time in one direction.
_IN_FLIGHT: Final = 4
# Small, so that what a slow direction does not carry waits at its sender, as on a real line.
_RECEIVE_BUFFER: Final = 32 * 1024


class Fault(Enum):
    """What may happen to one direction, or to both."""

    BLACK_HOLE = "bytes and ends are taken, and never delivered"
    FREEZE = "nothing is taken any more"
    RESET = "both ends are reset"
    FIN = "the receiver gets a FIN; what still comes is taken and lost"


@dataclass(frozen=True, slots=True)
class Lane:
    """One direction.

    ``piece``: the largest write, bytes. ``delay``: how long each byte is on its way, seconds.
    ``rate``: bytes a second. ``after``: how many bytes are delivered before ``fault`` strikes.
    """

    piece: int = _PIECE
    delay: float = 0.0
    rate: float = math.inf
    after: int | None = None
    fault: Fault = Fault.BLACK_HOLE


class _Way:
    """One direction of one connection."""

    def __init__(
        self,
        lane: Lane,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        crossing: Crossing,
    ) -> None:
        self.delivered = 0
        self._lane = lane
        self._source = source
        self._sink = sink
        self._crossing = crossing
        self._fault: Fault | None = None
        self._sending = trio.CancelScope()
        self._into, self._out_of = trio.open_memory_channel[tuple[float, bytes]](_IN_FLIGHT)

    def strike(self, fault: Fault) -> None:
        """Let ``fault`` happen; what was on its way is lost. Only the first one counts."""
        if self._fault is not None:
            return
        self._fault = fault
        self._sending.cancel()
        if fault is Fault.RESET:
            self._crossing.reset()
        elif fault is Fault.FIN:
            _send_fin(self._sink)

    def change(self, lane: Lane) -> None:
        """Be ``lane`` from now on."""
        self._lane = lane

    async def run(self) -> None:
        """Move bytes until the end of this direction."""
        if self._lane.after == 0:
            self.strike(self._lane.fault)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            await self._read()

    async def _read(self) -> None:
        """Take what comes and note when it is due; ``b""`` is the end."""
        async with self._into:
            while True:
                if self._fault is Fault.FREEZE:
                    await self._crossing.gone.wait()
                    return
                try:
                    data = bytes(await self._source.receive_some(self._lane.piece))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    if self._fault is None:  # a reset travels, unless the way is a hole
                        self._crossing.reset()
                    return
                self._crossing.touch()
                if self._fault is None:
                    await self._into.send((trio.current_time() + self._lane.delay, data))
                if not data:
                    return

    async def _write(self) -> None:
        """Deliver what is due, for as long as nothing strikes."""
        async for due, data in self._out_of:
            await trio.sleep_until(due)
            await trio.sleep(len(data) / self._lane.rate)
            if self._fault is None:
                await self._deliver(data)

    async def _deliver(self, data: bytes) -> None:
        if not data:
            _send_fin(self._sink)
            return
        after = self._lane.after
        cut = None if after is None else after - self.delivered
        try:
            with trio.CancelScope() as self._sending:  # a receiver that takes nothing
                await self._sink.send_all(data[:cut])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._crossing.reset()
            return
        self.delivered += len(data[:cut])
        if cut is not None and len(data) >= cut:
            self.strike(self._lane.fault)


class Crossing:
    """One connection through the box: ``up`` and ``down``."""

    def __init__(
        self, near: trio.SocketStream, far: trio.SocketStream, up: Lane, down: Lane
    ) -> None:
        self.gone = trio.Event()  # both ends have been reset
        self.up = _Way(up, near, far, self)
        self.down = _Way(down, far, near, self)
        self.touched = trio.current_time()
        self._ends = (near, far)

    def strike(self, fault: Fault) -> None:
        """Let ``fault`` happen in both directions."""
        self.up.strike(fault)
        self.down.strike(fault)

    def change(self, lane: Lane) -> None:
        """Have both directions be ``lane`` from now on; it has no fault."""
        self.up.change(lane)
        self.down.change(lane)

    def touch(self) -> None:
        """Note that something has moved."""
        self.touched = trio.current_time()

    def reset(self) -> None:
        """Reset both ends."""
        self.gone.set()
        for end in self._ends:
            with suppress(OSError):
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.socket.close()

    async def run(self, idle_cut: float, idle_fault: Fault) -> None:
        """Run until both directions have ended, or both ends are gone."""
        try:
            async with trio.open_nursery() as nursery:
                if idle_cut < math.inf:
                    nursery.start_soon(self._watch, idle_cut, idle_fault)
                async with trio.open_nursery() as ways:
                    ways.start_soon(self.up.run)
                    ways.start_soon(self.down.run)
                nursery.cancel_scope.cancel()
        finally:
            for end in self._ends:
                end.socket.close()

    async def _watch(self, idle_cut: float, fault: Fault) -> None:
        due = self.touched + idle_cut
        while due > trio.current_time():
            await trio.sleep_until(due)
            due = self.touched + idle_cut
        self.strike(fault)


class Middlebox:
    """A port in front of ``target`` (host, port). All parts may be changed for later connections.

    ``idle_cut``: seconds without a byte in either direction after which ``idle_fault`` strikes.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        up: Lane | None = None,
        down: Lane | None = None,
        idle_cut: float = math.inf,
        idle_fault: Fault = Fault.RESET,
    ) -> None:
        self.target = target
        self.up = Lane() if up is None else up
        self.down = Lane() if down is None else down
        self.idle_cut = idle_cut
        self.idle_fault = idle_fault
        self.crossings: list[Crossing] = []
        self.port = 0
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on 127.0.0.1 until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def wait_for_crossing(self, number: int = 1) -> Crossing:
        """Return the connection that came as ``number``."""
        while len(self.crossings) < number:
            await self._changed.wait()
        return self.crossings[number - 1]

    async def _serve(self, near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream(*self.target)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        crossing = Crossing(near, far, self.up, self.down)
        self.crossings.append(crossing)
        self._changed.set()
        self._changed = trio.Event()
        await crossing.run(self.idle_cut, self.idle_fault)


def _send_fin(stream: trio.SocketStream) -> None:
    with suppress(OSError):
        stream.socket.shutdown(socket.SHUT_WR)
