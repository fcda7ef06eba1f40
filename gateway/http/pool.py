"""The connections to one address of a controller, kept between exchanges.

Owns: which connection serves whom, how many there are, who waits, and when an idle one is given up.

Must not know: requests, addresses, how a connection is made (that is handed in).

Theory of operation. All state changes happen in one synchronous function, ``_decide``, which looks
at who waits and at what there is, in this order: an idle connection that still lives goes to who
came first; where there is none, and a place is free, the first one is told to connect; else all go
on waiting. Whoever has ``per_client`` places already is passed over until one of them is free, so
that one client's long downloads, or answers that it does not read, leave the others theirs.
Connections that turn out to be of no more use are closed there and then: closing waits
for nothing, so nobody's request waits for it, and nothing can come between a decision and its
effect. Nothing has to be locked.

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
    """``size``: connections, and requests that wait for one; ``per_client``: those of one client.

    The others are seconds.
    """

    size: int = 256
    per_client: int = 64
    wait: float = 5.0
    idle_timeout: float = 20.0


class _Request:
    """Somebody who needs a connection: afterwards either has one, or may make one."""

    __slots__ = ("client", "connection", "decided", "fresh", "idle_limit", "served")

    def __init__(self, client: str | None, idle_limit: float, *, fresh: bool) -> None:
        self.client = client
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

    __slots__ = ("_busy", "_by_client", "_closed", "_connect", "_idle", "_limits", "_waiting")

    def __init__(self, connect: Connect, limits: PoolLimits, *, keep: bool = True) -> None:
        """``keep``: connections may have more than one exchange, until ``aclose``."""
        self._connect = connect
        self._limits = limits
        self._idle: list[ControllerConnection] = []  # the one used last is last
        self._waiting: deque[_Request] = deque()
        self._closed = not keep  # nothing is kept any more
        self._busy = 0  # places taken: in use, or being made
        self._by_client: dict[str | None, int] = {}  # the same of each client that counts

    def __repr__(self) -> str:
        return f"<Pool {self._busy} busy, {len(self._idle)} idle, {len(self._waiting)} waiting>"

    @property
    def idle(self) -> int:
        """How many connections are kept for later."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How many are in use, or being made."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        return len(self._waiting)

    async def acquire(
        self,
        *,
        repeatable: bool,
        fresh: bool = False,
        connect: Connect | None = None,
        client: str | None = None,
    ) -> ControllerConnection:
        """Return a connection. ``repeatable``: its request can be sent again if that one is dead.

        ``fresh``: none that was used before; ``connect`` makes it, if given. ``client``: on whose
        account; None: nobody's. Raises LimitExceeded when there is no place in time, and what
        connecting does.
        """
        limits = self._limits
        if self._waiting:
            self._check_queue(client)
        idle_limit = limits.idle_timeout if repeatable else min(limits.idle_timeout, _SURELY_OPEN)
        request = _Request(client, idle_limit, fresh=fresh)
        self._waiting.append(request)
        self._decide()
        if not request.served:
            await self._wait(request)
        connection = request.connection
        if connection is None:
            try:
                connection = await (self._connect if connect is None else connect)()
            except BaseException:
                self._leave_place(client)
                self._decide()
                raise
        connection.client = client
        return connection

    def _check_queue(self, client: str | None) -> None:
        """Raise LimitExceeded for one more than may wait."""
        if len(self._waiting) >= self._limits.size:
            raise LimitExceeded("the controller is busy", detail="too many requests wait for it")
        if client is None:
            return
        if sum(request.client == client for request in self._waiting) >= self._limits.per_client:
            raise self._too_many(client)

    def _too_many(self, client: str) -> LimitExceeded:
        held = self._by_client.get(client, 0)
        return LimitExceeded(
            "too many requests at once from your address",
            detail=f"{client} has {held} of the controller's connections"
            " (controllers.NAME.connections.per_client; trusted_proxies are exempt)",
        )

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
            if request.client is not None and self._is_at_limit(request.client):
                raise self._too_many(request.client)
            raise LimitExceeded(
                "the controller is busy", detail=f"{self._limits.size} connections are in use"
            )

    def _give_back(self, request: _Request) -> None:
        """Undo what was decided for one who is cancelled."""
        if not request.served:
            self._waiting.remove(request)
            return
        self._leave_place(request.client)
        if request.connection is not None:
            if self._closed:
                request.connection.close()
            else:
                self._idle.append(request.connection)
        self._decide()

    def release(self, connection: ControllerConnection, *, keep: bool = True) -> None:
        """Take a connection back after its exchange, or after whatever ended that.

        ``keep``: another exchange may have it.
        """
        self._leave_place(connection.client)
        if keep and connection.reusable and not self._closed:
            connection.idle_since = trio.current_time()
            self._idle.append(connection)
        else:
            connection.close()
        if self._waiting:
            self._decide()

    def sweep(self) -> None:
        """Close idle connections that died or were not used for long; call it now and then."""
        oldest = trio.current_time() - self._limits.idle_timeout
        useless = [c for c in self._idle if c.idle_since <= oldest or c.dead]
        if useless:
            self._idle = [c for c in self._idle if c not in useless]
        for connection in useless:
            connection.close()

    def close(self) -> None:
        """Close all idle connections, and from now on each after its exchange."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # -- decisions ---------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Serve those who wait, as far as possible."""
        waiting = self._waiting
        at = 0  # those before have all that their clients may have
        while at < len(waiting):
            request = waiting[at]
            if self._is_at_limit(request.client):
                at += 1
                continue
            # 1. An idle connection that lives: the one used last, so that the others can expire.
            connection = None if request.fresh else self._take_idle(request.idle_limit)
            if connection is None and self._busy + len(self._idle) >= self._limits.size:
                # 3. Every place is taken. One held by an idle connection can be had.
                if not self._idle:
                    break
                self._idle.pop(0).close()
            # 2. (connection is None) A free place, to connect oneself.
            self._take_place(request.client)
            del waiting[at]
            request.serve(connection)

    def _is_at_limit(self, client: str | None) -> bool:
        return self._by_client.get(client, 0) >= self._limits.per_client

    def _take_place(self, client: str | None) -> None:
        self._busy += 1
        if client is not None:
            self._by_client[client] = self._by_client.get(client, 0) + 1

    def _leave_place(self, client: str | None) -> None:
        self._busy -= 1
        if client is None:
            return
        left = self._by_client[client] - 1
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]

    def _take_idle(self, idle_limit: float) -> ControllerConnection | None:
        """Return the idle connection used last that lives; dead ones are closed."""
        idle = self._idle
        now = trio.current_time()
        while idle and now - idle[-1].idle_since < idle_limit:
            connection = idle.pop()
            if not connection.dead:
                return connection
            connection.close()
        return None
