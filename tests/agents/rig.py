"""A session between two socket pairs: the agent's end speaks WebSocket through wsproto, the
controller's end is the bare chunk stream as it follows the JNLP4 handshake.

Owns: starting ``AgentSession`` on real sockets without HTTP, TLS and handshakes, which have tests
of their own.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from gateway.agents.jnlp4_leg import ControllerLeg
from gateway.agents.session import AgentSession, SessionInfo
from gateway.protocol.jnlp4 import Jnlp4Client, encode_string
from gateway.runtime.ended_session import EndedSession
from gateway.runtime.session_end import SessionEnd
from gateway.runtime.session_loop import Limits
from gateway.transport.stream import Stream
from tests.peers.ws_agent import AgentFrames, CloseConnection, Ping

CAPABILITY = "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAf4="
DEFAULT_LIMITS = Limits(interval=20.0, suspect_after=20.0, dead_after=60.0)


@dataclass
class Rig:
    """A running session: ``agent`` and ``controller`` are the far ends of its two legs."""

    agent: trio.SocketStream
    controller: trio.SocketStream
    session: AgentSession
    frames: AgentFrames = field(default_factory=AgentFrames)
    ended: trio.Event = field(default_factory=trio.Event)
    end: SessionEnd | None = None

    async def wait_end(self) -> SessionEnd:
        await self.ended.wait()
        assert self.end is not None
        return self.end

    async def read_to_agent(self, *, answer_pings: bool = True) -> tuple[bytes, int | None]:
        """Read until the server's Close frame or EOF; return the payload and the close code."""
        payload = b""
        while True:
            data = await self.agent.receive_some(65536)
            if not data:
                return payload, None
            for event in self.frames.receive(data):
                if isinstance(event, CloseConnection):
                    return payload, int(event.code)
                if isinstance(event, Ping) and answer_pings:
                    await self.agent.send_all(self.frames.send(event.response()))
                payload += bytes(getattr(event, "data", b""))

    async def read_to_controller(self) -> bytes:
        """Read until EOF; return the chunk stream without the capability in front of it."""
        data = b""
        while piece := await self.controller.receive_some(65536):
            data += piece
        head = encode_string(CAPABILITY)
        assert data.startswith(head)
        return data[len(head) :]


@asynccontextmanager
async def running_session(
    *,
    limits: Limits = DEFAULT_LIMITS,
    chunks_per_message: str = "many",
    leading: bytes = b"",
    controller_leading: bytes = b"",
    tcp: bool = False,
    on_end: Callable[[EndedSession], None] = lambda ended: None,
) -> AsyncIterator[Rig]:
    """Run a session inside the block; it is over, one way or another, when the block is left."""
    agent_near, agent_far = await _pair(tcp=tcp)
    controller_near, controller_far = await _pair(tcp=tcp)
    client = _accepted_client(controller_leading)
    leg = ControllerLeg(Stream(controller_near), client.capability, "00ff", client.leading, client)
    session = AgentSession(
        SessionInfo("s1", "main", "node", "192.0.2.1", chunks_per_message),
        agent=Stream(agent_near),
        leading=leading,
        leg=leg,
        limits=limits,
        on_end=on_end,
    )
    rig = Rig(trio.SocketStream(agent_far), trio.SocketStream(controller_far), session)

    async def run() -> None:
        rig.end = await session.run(CAPABILITY)
        rig.ended.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield rig
            nursery.cancel_scope.cancel()
    finally:
        for sock in (agent_far, controller_far, agent_near, controller_near):
            sock.close()


async def _pair(*, tcp: bool) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    if not tcp:
        near, far = trio.socket.socketpair()
        return near, far
    with socket.create_server(("127.0.0.1", 0)) as server:
        far_std = socket.create_connection(server.getsockname())
        near_std, _ = server.accept()
    far_std.setblocking(False)
    near_std.setblocking(False)
    return trio.socket.from_stdlib_socket(near_std), trio.socket.from_stdlib_socket(far_std)


def _accepted_client(leading: bytes) -> Jnlp4Client:
    """Return a JNLP4 client whose controller has said OK (its handshake has its own tests)."""
    client = Jnlp4Client({})
    client.data_to_send()
    accepted = encode_string("{}") + encode_string("OK") + encode_string(CAPABILITY)
    client.receive_data(accepted + leading)
    client.data_to_send()
    return client
