"""Which listening sockets a worker accepts on.

Owns: accepting on the worker's own slot and, while others are without a worker, on theirs; and that
a socket is closed only when nobody waits in its backlog.

Must not know: what happens with a connection, why a slot has no worker (``slots``).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import trio

from gateway.observability.logs import get_logger
from gateway.transport.listeners import BoundListener, is_shortage

_log = get_logger("system")

# Connections arrive as long as a socket listens; it cannot be waited for the last one for ever.
EMPTY_WITHIN: Final = 5.0
_LOOK: Final = 0.005
# Another worker's slot needs a few descriptors; where there are none, somebody has to leave first.
_RETRY: Final = 0.1
# struct tcp_info, linux/tcp.h: tcpi_unacked of a listening socket is the length of its backlog.
_UNACKED: Final = struct.Struct("=24xI")

Accept = Callable[[int, BoundListener], Awaitable[None]]


def backlog(sock: trio.socket.SocketType) -> int:
    """Return how many connections wait to be accepted."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED.size)
    (length,) = _UNACKED.unpack(info)
    return int(length)


class Accepting:
    """What one worker accepts on. Owns the sockets of its own slot and its copies of the others."""

    def __init__(
        self,
        own: Sequence[BoundListener],
        others: Mapping[int, Mapping[int, BoundListener]],
        accept: Accept,
    ) -> None:
        """``others``: by slot and by index of the listener.

        ``accept(i, listener)`` accepts on a socket of the ``i``-th listener until cancelled, and
        closes the one that it gets.
        """
        self._own = own
        self._others = others
        self._accept = accept
        self._scopes: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._is_closed = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled, or until ``finish`` or ``close``."""
        try:
            async with trio.open_nursery() as self._nursery:
                for i, listener in enumerate(self._own):
                    self._nursery.start_soon(self._accept, i, _copy(listener))
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._close_sockets()

    def listen(self, slot: int) -> None:
        """Accept on another slot, too. One that is not known, or served already, is left alone."""
        if self._nursery is not None and slot in self._others and slot not in self._scopes:
            self._scopes[slot] = trio.CancelScope()
            self._nursery.start_soon(self._accept_other, slot, self._scopes[slot])
            _log.info("accepting on another worker's slot", slot=slot)

    def unlisten(self, slot: int) -> None:
        """Leave another slot to its own worker."""
        scope = self._scopes.pop(slot, None)
        if scope is not None:
            scope.cancel()

    async def _accept_other(self, slot: int, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for i, copy in (await self._copies_of(slot)).items():
                    nursery.start_soon(self._accept, i, copy)

    async def _copies_of(self, slot: int) -> dict[int, BoundListener]:
        """Return copies of all listeners of a slot, once there are descriptors for them."""
        is_told = False
        while True:
            copies: dict[int, BoundListener] = {}
            try:
                for i, listener in self._others[slot].items():
                    copies[i] = _copy(listener)
                return copies
            except OSError as error:
                _close(copies.values())
                if not is_shortage(error):
                    raise
                if not is_told:
                    _log.warning(
                        "cannot accept on another worker's slot yet",
                        slot=slot,
                        reason=(error.strerror or type(error).__name__).lower(),
                    )
                is_told = True
            await trio.sleep(_RETRY)

    async def finish(self) -> None:
        """Accept whoever waits already, then close every socket: nobody else takes them.

        After ``close`` there is nothing left to do.
        """
        if self._is_closed:
            return
        for slot, listeners in self._others.items():
            if slot not in self._scopes:  # its own worker does the same
                _close(listeners.values())
        with trio.move_on_after(EMPTY_WITHIN):
            for listener in self._listening():
                while backlog(listener.socket):  # noqa: ASYNC110 (the kernel has no event for it)
                    await trio.sleep(_LOOK)
        self.close()

    def close(self) -> None:
        """Accept no more, at once; whoever waits is served by those who have the socket, too."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self._close_sockets()

    def _listening(self) -> list[BoundListener]:
        adopted = (self._others[slot].values() for slot in self._scopes)
        return [*self._own, *(each for listeners in adopted for each in listeners)]

    def _close_sockets(self) -> None:
        self._is_closed = True
        _close(self._own)
        for listeners in self._others.values():
            _close(listeners.values())


def _copy(listener: BoundListener) -> BoundListener:
    return BoundListener(listener.config, listener.socket.dup())


def _close(listeners: Iterable[BoundListener]) -> None:
    for listener in listeners:
        listener.socket.close()
