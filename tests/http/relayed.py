"""A relayed session between two socket pairs, without HTTP, TLS and handshakes.

Owns: starting ``RelaySession`` on real sockets.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from gateway.http.websocket_relay import RelayLimits, RelaySession
from gateway.http.websocket_way import Leg
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import Limits
from gateway.transport.stream import Stream
from tests.peers.raw_frames import MASK
from tests.peers.ws_end import End

LIMITS = RelayLimits(Limits(20.0, 20.0, 60.0), Limits(20.0, 20.0, 300.0))


@dataclass
class Relayed:
    """A running session and its two far ends."""

    client: End
    controller: End
    session: RelaySession
    ended: trio.Event = field(default_factory=trio.Event)
    result: SessionEnd | None = None

    async def wait_end(self) -> SessionEnd:
        await self.ended.wait()
        assert self.result is not None
        return self.result


@asynccontextmanager
async def relayed(
    *,
    limits: RelayLimits = LIMITS,
    client_leading: bytes = b"",
    controller_leading: bytes = b"",
    buffer: int | None = None,
) -> AsyncIterator[Relayed]:
    """Run a session inside the block. ``buffer``: bytes that the sockets hold."""
    client_near, client_far = trio.socket.socketpair()
    controller_near, controller_far = trio.socket.socketpair()
    socks = (client_near, client_far, controller_near, controller_far)
    if buffer is not None:
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    session = RelaySession(
        {"session": "s1", "controller": "main", "node": "n", "client": "192.0.2.1"},
        client=Leg(Side.AGENT, Stream(client_near), client_leading),
        controller=Leg(Side.CONTROLLER, Stream(controller_near), controller_leading),
        limits=limits,
    )
    run = Relayed(
        End(trio.SocketStream(client_far), MASK),
        End(trio.SocketStream(controller_far), None),
        session,
    )

    async def start() -> None:
        run.result = await session.run()
        run.ended.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            yield run
            nursery.cancel_scope.cancel()
    finally:
        for sock in socks:
            sock.close()
