"""An agent's WebSocket as the doctor holds it: the upgrade, pings both ways, and how it ended.

Owns: the request an agent sends, frames by wsproto, and the times of what came. Nothing is ever
said in the channel itself: the doctor speaks no remoting.

Must not know: what an end means.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from gateway.demo.agent_http import Answer, upgrade_request
from gateway.demo.stream import ConnectionEnded, End, Wire
from gateway.demo.wire import DEFAULT_MASK, capability_ascii
from gateway.doctor.client import ask
from gateway.doctor.question import Question

CAPABILITY: Final = capability_ascii(DEFAULT_MASK)
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_CLOSE_WITHIN: Final = 2.0  # seconds
# Of the pings that come, how many are remembered: one a second for an hour.
_MOST_PINGS: Final = 3600


@dataclass(slots=True)
class Ended:
    """How the session ended. ``code``: of a Close frame. Times in seconds.

    ``idle``: since the last byte in either direction; ``age``: since the upgrade.
    """

    how: End
    age: float
    idle: float
    code: int | None = None
    reason: str = ""


@dataclass(slots=True)
class AgentSocket:
    """An open session. ``pings``: when the server's came, seconds after the upgrade."""

    wire: Wire
    frames: Connection
    opened: float
    last: float
    pings: list[float] = field(default_factory=list)
    received: int = 0
    ended: Ended | None = None
    _awaited: set[bytes] = field(default_factory=set)
    _has_begun: bool = False

    async def ping(self, within: float) -> float | None:
        """Return the seconds that a ping's answer took; None without one within that time."""
        payload = secrets.token_bytes(8)
        self._awaited.add(payload)
        begun = trio.current_time()
        with trio.move_on_after(within):
            await self._send(Ping(payload=payload))
            while self.ended is None and payload in self._awaited:
                await self._read()
        return None if payload in self._awaited else trio.current_time() - begun

    async def read_until(self, deadline: float) -> None:
        """Answer what comes until ``deadline`` (trio's clock), or the end."""
        with trio.CancelScope(deadline=deadline):
            while self.ended is None:
                await self._read()

    async def close(self) -> None:
        """End the session in order: Close frame, the answer to it, the connection."""
        with trio.move_on_after(_CLOSE_WITHIN):
            if self.ended is None and self.frames.state is ConnectionState.OPEN:
                await self._send(CloseConnection(code=1000))
                while self.ended is None:
                    await self._read()

    async def _send(self, event: Event) -> None:
        try:
            await self.wire.send(self.frames.send(event))
        except ConnectionEnded as error:
            self._end(error.end)
        except LocalProtocolError:  # it is being closed
            return
        self.last = trio.current_time()

    async def _read(self) -> None:
        if not self._has_begun:  # frames may have come together with the 101
            self._has_begun = True
            await self._take_all(self.last)
            return
        try:
            self.frames.receive_data(await self.wire.read_some())
        except ConnectionEnded as error:
            self._end(error.end)
            return
        before, self.last = self.last, trio.current_time()
        await self._take_all(before)

    async def _take_all(self, before: float) -> None:
        for event in self.frames.events():
            await self._take(event, before)

    async def _take(self, event: Event, before: float) -> None:
        if isinstance(event, Ping):
            if len(self.pings) < _MOST_PINGS:
                self.pings.append(trio.current_time() - self.opened)
            await self._send(event.response())
        elif isinstance(event, Pong):
            self._awaited.discard(bytes(event.payload))
        elif isinstance(event, CloseConnection) and self.frames.state is ConnectionState.OPEN:
            self._end(End.VIOLATION, reason=event.reason or "")  # wsproto's verdict, not a frame
        elif isinstance(event, CloseConnection):
            self.last = before  # a Close frame may itself be the work of an idle timer
            self._end(End.CLOSE_FRAME, code=event.code, reason=event.reason or "")
            with suppress(LocalProtocolError, ConnectionEnded):
                await self.wire.send(self.frames.send(event.response()))
        elif isinstance(event, BytesMessage | TextMessage):
            self.received += len(event.data)

    def _end(self, how: End, *, code: int | None = None, reason: str = "") -> None:
        if self.ended is None:
            now = trio.current_time()
            self.ended = Ended(how, now - self.opened, now - self.last, code, reason)


@dataclass(slots=True)
class Upgraded:
    """The answer to an upgrade request, and the session if there is one."""

    request: bytes
    answer: Answer
    key: str
    wire: Wire

    @property
    def is_accepted(self) -> bool:
        """Say whether the 101 fits the request (RFC 6455 section 4.1)."""
        return self.answer.header("Sec-WebSocket-Accept") == accept_value(self.key)

    def open(self) -> AgentSocket:
        """Return the session that a 101 has begun."""
        now = trio.current_time()
        frames = Connection(ConnectionType.CLIENT, trailing_data=self.answer.rest)
        return AgentSocket(self.wire, frames, now, now)


def accept_value(key: str) -> str:
    """Return what a server must answer to ``key``."""
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def new_key() -> str:
    """Return a value for ``Sec-WebSocket-Key``."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def agent_request(
    question: Question,
    key: str,
    *,
    node: str,
    secret: str,
    extra: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Write what agent.jar sends to ``wsagents/``."""
    return upgrade_request(
        question.target,
        key=key,
        node=node,
        secret=secret,
        capability=CAPABILITY,
        cookie=None,
        extra=extra,
    )


async def upgrade(
    question: Question, request: bytes, key: str, wire: Wire, *, within: float
) -> Upgraded:
    """Send an upgrade request over ``wire`` and return what came of it. Raises Unanswered."""
    answer = await ask(question, wire, request, upgrade=True, within=within)
    return Upgraded(request, answer, key, wire)
