"""A simulated agent's channel: remoting chunks in WebSocket messages.

Owns: wsproto for the frames of an established connection, answers to pings, the close handshake,
and counts of what a gateway may and may not do with messages.

Must not know: ``gateway.protocol``, the HTTP handshake, retries. Source: PROTOCOLS A.6.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

import trio
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping
from wsproto.utilities import LocalProtocolError

from gateway.demo.channel import CLOSE_COMMAND, CommandChannel
from gateway.demo.stream import ConnectionEnded, End, Wire

_PEER_VANISHED: Final = 1002  # said into a connection that ended without a Close, as recorded
_LINGER: Final = 2.0  # seconds for the peer's own end


@dataclass(slots=True)
class MessageCounters:
    """What arrived as messages: sizes in bytes; ``cut_chunks`` did not end where a chunk ends."""

    received: int = 0
    largest: int = 0
    cut_chunks: int = 0
    pings: int = 0


class AgentChannel(CommandChannel):
    """The agent's side of a session.

    ``fragments``: send the two header bytes and the body as two fragments of one message, as
    remoting 4.3 to 3106 does; else one unfragmented message per chunk. ``answer_pings`` may be
    switched off. ``close_code`` is the code of the peer's Close frame, if one came.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        node: str,
        cookie: str | None,
        peer_capability: str,
        rest: bytes = b"",
        fragments: bool = False,
        on_ping: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(node=node, cookie=cookie, peer_capability=peer_capability)
        self.answer_pings = True
        self.close_code: int | None = None
        self.messages = MessageCounters()
        self._wire = wire
        self._frames = Connection(ConnectionType.CLIENT, trailing_data=rest)
        self._fragments = fragments
        self._on_ping = on_ping
        self._message_size = 0
        self._message_ends = False
        self._closing = False
        self._lock = trio.Lock()

    async def _write(self, chunks: list[bytes]) -> None:
        async with self._lock:
            await self._wire.send(b"".join(map(self._message, chunks)))

    def _message(self, chunk: bytes) -> bytes:
        if not self._fragments:
            return self._frame(BytesMessage(data=chunk))
        header = self._frame(BytesMessage(data=chunk[:2], message_finished=False))
        return header + self._frame(BytesMessage(data=chunk[2:]))

    def _frame(self, event: Event) -> bytes:
        try:
            return bytes(self._frames.send(event))
        except LocalProtocolError as exc:
            raise ConnectionEnded(End.HERE, str(exc)) from exc

    async def _say(self, event: Event) -> None:
        async with self._lock:
            await self._wire.send(self._frame(event))

    async def _read(self) -> bytes:
        while True:
            event = next(self._frames.events(), None)
            if event is None:
                await self._receive()
            elif isinstance(event, BytesMessage):
                if self._count(event):
                    return bytes(event.data)
            elif isinstance(event, Ping):
                await self._pong(event)
            elif isinstance(event, CloseConnection):
                await self._closed_by_peer(event)

    async def _receive(self) -> None:
        try:
            self._frames.receive_data(await self._wire.read_some())
        except ConnectionEnded as exc:
            if exc.end is not End.HERE:
                with suppress(ConnectionEnded):
                    await self._say(CloseConnection(code=_PEER_VANISHED))
            raise

    def _count(self, event: BytesMessage) -> bool:
        """Count a piece of a message; say whether it has any payload."""
        self._message_size += len(event.data)
        if event.message_finished:
            self.messages.received += 1
            self.messages.largest = max(self.messages.largest, self._message_size)
            self._message_size = 0
        self._message_ends = event.message_finished
        return len(event.data) > 0

    def _assemble(self, data: bytes) -> list[bytes]:
        commands = super()._assemble(data)
        if self._message_ends and not self._assembler.at_chunk_boundary:
            self.messages.cut_chunks += 1
        return commands

    async def _pong(self, ping: Ping) -> None:
        self.messages.pings += 1
        if self._on_ping is not None:
            self._on_ping(bytes(ping.payload))
        if self.answer_pings:
            await self._say(ping.response())

    async def _closed_by_peer(self, event: CloseConnection) -> NoReturn:
        """Answer a Close frame, leave closing TCP to the server, and report the end."""
        violation = self._frames.state is ConnectionState.OPEN  # then wsproto wants to close
        if not violation:
            self.close_code = int(event.code)
        with suppress(ConnectionEnded), trio.move_on_after(_LINGER):
            if self._frames.state is not ConnectionState.CLOSED:
                await self._say(CloseConnection(code=event.code))
            while True:
                await self._wire.read_some()
        raise ConnectionEnded(End.VIOLATION if violation else End.CLOSE_FRAME)

    def _finish(self, end: End) -> None:
        super()._finish(End.HERE if self._closing else end)

    def _abandon(self) -> None:
        self._wire.abandon()

    async def ping(self, payload: bytes = b"") -> None:
        """Send a ping; real agents never do."""
        await self._say(Ping(payload=payload))

    async def close(
        self,
        *,
        last_command: bytes | None = CLOSE_COMMAND,
        code: int = 1000,
        linger: float = _LINGER,
    ) -> None:
        """Send ``last_command`` and a Close frame, wait for the server's end, close.

        What still arrives meanwhile is received as ever; ``end`` will be ``HERE`` all the same.
        """
        self._closing = True
        with suppress(ConnectionEnded):
            if last_command is not None:
                await self.send_command(last_command)
            await self._say(CloseConnection(code=code))
            with trio.move_on_after(linger):
                await self.ended.wait()
        await self.drop()

    async def drop(self) -> None:
        """End as a killed agent does: a bare EOF, no Close frame."""
        self._wire.send_fin()
        self._finish(End.HERE)
        with trio.move_on_after(_LINGER):
            await self._drained.wait()
        self._wire.abandon()

    def kill(self) -> None:
        """End with a reset."""
        self._finish(End.HERE)
        self._wire.kill()
