"""The connections to one address of a controller, kept between exchanges.

Owns: which connection serves whom, how many there are, who waits, and when an idle one is given up.

Must not know: requests, addresses, how a connection is made (that is handed in).

Theory of operation. All state changes happen in one synchronous function, ``_decide``, which looks
at who waits and at what there is, in this order: an idle connection that still lives goes to who
came first; where there is none, and a place is free, the first one is told to connect; else all go
on waiting. It returns the connections that turned out to be of no more use, which are closed
outside, where it may take time. Between two decisions nothing has to be locked.

An idle connection is dead when anything has arrived on it: the end, or bytes that belong to no
answer. It is given up ``idle_timeout`` after its last exchange, before the controller does the same
(Jenkins after 30 s), because a request that meets a closing connection is lost. A request that
could not be repeated then gets a connection only if that was in use until just now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from gateway.errors import LimitExceeded
from gateway.http.controller_connection import ControllerConnection

Connect = Callable[[], Awaitable[ControllerConnection]]

# httpd before a controller closes after 5 s by default, the least among common servers.
_SURELY_OPEN: Final = 4.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """``size``: connections, and requests that wait for one. The others are seconds."""

    size: int = 256
    wait: float = 5.0
    idle_timeout: float = 20.0


class _Request:
    """Somebody who needs a connection: afterwards either has one, or may make one."""

    __slots__ = ("connection", "decided", "fresh", "idle_limit", "served")

    def __init__(self, idle_limit: float, *, fresh: bool) -> None:
        self.idle_limit = idle_limit
        self.fresh = fresh
        self.connection: ControllerConnection | None = None
        self.served = False
        self.decided: trio.Event | None = None  # made only by those who have to wait

    def serve(self, connection: ControllerConnection | None) -> None:
        self.connection = connection
        self.served = True
        if self.decided is not None:
            self.decided.set()


class Pool:
    """Connections to one address. Everyone who acquires one releases it."""

    __slots__ = ("_busy", "_closed", "_connect", "_idle", "_limits", "_waiting")

    def __init__(self, connect: Connect, limits: PoolLimits, *, keep: bool = True) -> None:
        """``keep``: connections may have more than one exchange, until ``aclose``."""
        self._connect = connect
        self._limits = limits
        self._idle: list[ControllerConnection] = []  # the one used last is last
        self._waiting: deque[_Request] = deque()
        self._closed = not keep  # nothing is kept any more
        self._busy = 0  # places taken: in use, or being made

    def __repr__(self) -> str:
        return f"<Pool {self._busy} busy, {len(self._idle)} idle, {len(self._waiting)} waiting>"

    async def acquire(
        self, *, repeatable: bool, fresh: bool = False, connect: Connect | None = None
    ) -> ControllerConnection:
        """Return a connection. ``repeatable``: its request can be sent again if that one is dead.

        ``fresh``: none that was used before; ``connect`` makes it, if given. Raises LimitExceeded
        when there is no place in time, and what connecting does.
        """
        limits = self._limits
        if len(self._waiting) >= limits.size:
            raise LimitExceeded("the controller is busy", detail="too many requests wait for it")
        idle_limit = limits.idle_timeout if repeatable else min(limits.idle_timeout, _SURELY_OPEN)
        request = _Request(idle_limit, fresh=fresh)
        self._waiting.append(request)
        await _close_all(self._decide())
        if not request.served:
            await self._wait(request)
        if request.connection is not None:
            return request.connection
        try:
            return await (self._connect if connect is None else connect)()
        except BaseException:
            self._busy -= 1
            self._decide_soon()
            raise

    async def _wait(self, request: _Request) -> None:
        request.decided = trio.Event()
        try:
            with trio.move_on_after(self._limits.wait):
                await request.decided.wait()
        except trio.Cancelled:
            self._give_back(request)
            raise
        if not request.served:
            self._waiting.remove(request)
            raise LimitExceeded(
                "the controller is busy", detail=f"{self._limits.size} connections are in use"
            )

    def _give_back(self, request: _Request) -> None:
        """Undo what was decided for one who is cancelled."""
        if not request.served:
            self._waiting.remove(request)
            return
        self._busy -= 1
        if request.connection is not None:
            self._idle.append(request.connection)
        self._decide_soon()

    async def release(self, connection: ControllerConnection, *, keep: bool = True) -> None:
        """Take a connection back after its exchange, or after whatever ended that.

        ``keep``: another exchange may have it.
        """
        self._busy -= 1
        if keep and connection.reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
            if self._waiting:
                await _close_all(self._decide())
            return
        self._decide_soon()
        await connection.aclose()

    async def sweep(self) -> None:
        """Close idle connections that died or were not used for long; call it now and then."""
        await _close_all(self._take_useless())

    async def aclose(self) -> None:
        """Close all idle connections, and from now on each after its exchange."""
        self._closed = True
        idle, self._idle = self._idle, []
        await _close_all(idle)

    # -- decisions ---------------------------------------------------------------------------------

    def _decide(self) -> list[ControllerConnection]:
        """Serve those who wait, as far as possible; return connections to be closed."""
        useless: list[ControllerConnection] = []
        waiting = self._waiting
        while waiting:
            request = waiting[0]
            # 1. An idle connection that lives: the one used last, so that the others can expire.
            connection = None if request.fresh else self._take_idle(request.idle_limit, useless)
            if connection is None and self._busy + len(self._idle) >= self._limits.size:
                # 3. Every place is taken. One held by an idle connection can be had.
                if not self._idle:
                    break
                useless.append(self._idle.pop(0))
            # 2. (connection is None) A free place, to connect oneself.
            self._busy += 1
            waiting.popleft().serve(connection)
        return useless

    def _take_idle(
        self, idle_limit: float, useless: list[ControllerConnection]
    ) -> ControllerConnection | None:
        """Return the idle connection used last that lives; dead ones go to ``useless``."""
        idle = self._idle
        now = trio.current_time()
        while idle and now - idle[-1].idle_since < idle_limit:
            connection = idle.pop()
            if not connection.dead:
                return connection
            useless.append(connection)
        return None

    def _take_useless(self) -> list[ControllerConnection]:
        oldest = trio.current_time() - self._limits.idle_timeout
        useless = [c for c in self._idle if c.idle_since <= oldest or c.dead]
        if useless:
            self._idle = [c for c in self._idle if c not in useless]
        return useless

    def _decide_soon(self) -> None:
        """Decide where nothing can be awaited: what is of no more use is cut."""
        for connection in self._decide():
            connection.abort()


async def _close_all(connections: list[ControllerConnection]) -> None:
    for connection in connections:
        await connection.aclose()
