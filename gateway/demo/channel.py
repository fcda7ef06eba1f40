"""An open remoting channel of a stand-in: opaque commands out, opaque commands in.

Owns: cutting and assembling commands, the bounded queue of those nobody has asked for yet, the
counters, the switch that stops reading, the end. ``StandInChannel`` is a controller's channel (a
chunk stream on a connection); the agent's, over WebSocket messages, is in
``gateway.demo.agent_channel``.

Must not know: handshakes, what a command means. Commands are never interpreted or deserialized;
those made here are the four magic bytes and a text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import trio

from gateway.demo.stream import ConnectionEnded, End, Wire
from gateway.demo.wire import COMMAND_START, CommandAssembler, WireError, split_command

QUEUED_COMMANDS: Final = 16  # remoting holds as many before its channel is attached
CLOSE_COMMAND: Final = COMMAND_START + b"stand-in CloseCommand: " + b"at Channel.close() " * 50
_SEND_AT_ONCE: Final = 65536
_LAST_COMMANDS: Final = 1.0  # seconds


def command(text: str, *, size: int = 0) -> bytes:
    """Make an opaque command of at least ``size`` bytes that carries ``text``."""
    return (COMMAND_START + text.encode()).ljust(size, b".")


@dataclass(slots=True)
class Counters:
    """What went over a channel: bytes of the chunk stream with headers, chunks, commands."""

    bytes_sent: int = 0
    bytes_received: int = 0
    chunks_sent: int = 0
    chunks_received: int = 0
    commands_sent: int = 0
    commands_received: int = 0


class CommandChannel(ABC):
    """Both kinds of channel. Iterating gives the commands received, until the end.

    ``node``, ``cookie`` (sent by the controller), ``peer_capability`` (ASCII form) describe it;
    ``end`` is None while it is open, ``ended`` an event to wait for.
    """

    def __init__(self, *, node: str, cookie: str | None, peer_capability: str) -> None:
        self.node = node
        self.cookie = cookie
        self.peer_capability = peer_capability
        self.counters = Counters()
        self.end: End | None = None
        self.ended = trio.Event()
        self._assembler = CommandAssembler()
        self._arrived, self._commands = trio.open_memory_channel[bytes](QUEUED_COMMANDS)
        self._may_read = trio.Event()
        self._may_read.set()
        self._drained = trio.Event()

    def stop_reading(self) -> None:
        """Read nothing more from the connection, so that the peer's sends pile up.

        A read already waiting still takes what comes next, at most one piece.
        """
        self._may_read = trio.Event()

    def resume_reading(self) -> None:
        """Undo ``stop_reading``."""
        self._may_read.set()

    async def send_command(self, payload: bytes) -> None:
        """Send one command in chunks of at most 8192 bytes; ConnectionEnded when that fails."""
        batch: list[bytes] = []
        size = 0
        for chunk in split_command(payload):
            batch.append(chunk)
            size += len(chunk)
            if size >= _SEND_AT_ONCE:
                await self.send_chunks(batch)
                batch, size = [], 0
        if batch:
            await self.send_chunks(batch)
        self.counters.commands_sent += 1

    async def send_chunks(self, chunks: list[bytes]) -> None:
        """Send chunks, headers included, as they are: also wrong ones, if a test wants them."""
        await self._write(chunks)
        self.counters.chunks_sent += len(chunks)
        self.counters.bytes_sent += sum(map(len, chunks))

    async def receive_command(self) -> bytes:
        """Return the next command; raises trio.EndOfChannel when the channel has ended."""
        return await self._commands.receive()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive_command()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    @property
    def complete(self) -> bool:
        """Say whether every byte received so far belongs to a command that was handed over."""
        return self._assembler.at_command_boundary

    async def run(self, behaviour: Behaviour | None = None) -> None:
        """Read until the connection ends, while ``behaviour``, if any, uses the channel.

        Afterwards the behaviour has a second to take the commands that are still queued.
        """
        async with trio.open_nursery() as nursery:
            if behaviour is not None:
                nursery.start_soon(self._behave, behaviour)
            await self._read_until_the_end()
            nursery.cancel_scope.deadline = trio.current_time() + _LAST_COMMANDS

    async def _behave(self, behaviour: Behaviour) -> None:
        with suppress(ConnectionEnded, trio.EndOfChannel):
            await behaviour(self)

    async def _read_until_the_end(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                data = await self._read()
                if self.end is None:
                    await self._deliver(data)
        except ConnectionEnded as exc:
            self._finish(exc.end)
        except WireError:
            self._finish(End.VIOLATION)
        finally:
            self._finish(End.HERE)
            self._abandon()
            self._drained.set()

    async def _deliver(self, data: bytes) -> None:
        with suppress(trio.ClosedResourceError):  # closed here while the queue was full
            for payload in self._assemble(data):
                await self._arrived.send(payload)

    def _assemble(self, data: bytes) -> list[bytes]:
        commands = self._assembler.feed(data)
        self.counters.bytes_received += len(data)
        self.counters.chunks_received = self._assembler.chunks
        self.counters.commands_received = self._assembler.commands
        return commands

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
        self._arrived.close()
        self._may_read.set()
        self.ended.set()

    @abstractmethod
    async def _write(self, chunks: list[bytes]) -> None: ...

    @abstractmethod
    async def _read(self) -> bytes: ...

    @abstractmethod
    def _abandon(self) -> None: ...

    @abstractmethod
    async def close(self, *, last_command: bytes | None = CLOSE_COMMAND) -> None:
        """End in order: a last command, then what a real peer of this kind does."""

    @abstractmethod
    async def drop(self) -> None:
        """End as a killed process does: a bare EOF, nothing said."""

    @abstractmethod
    def kill(self) -> None:
        """End with a reset."""


class StandInChannel(CommandChannel):
    """A channel whose chunks are a plain byte stream, as after a JNLP4 handshake.

    ``tls_version`` is None in clear.
    """

    def __init__(self, wire: Wire, *, node: str, cookie: str | None, peer_capability: str) -> None:
        super().__init__(node=node, cookie=cookie, peer_capability=peer_capability)
        self.tls_version = wire.tls_version
        self._wire = wire

    async def _write(self, chunks: list[bytes]) -> None:
        await self._wire.send(b"".join(chunks))

    async def _read(self) -> bytes:
        return await self._wire.read_some()

    def _abandon(self) -> None:
        self._wire.abandon()

    async def close(
        self, *, last_command: bytes | None = CLOSE_COMMAND, linger: float = 2.0
    ) -> None:
        """Send ``last_command`` (often lost with real controllers: None), then a bare EOF.

        The channel counts as ended at once; up to ``linger`` seconds pass until the peer's own end.
        """
        if last_command is not None:
            with suppress(ConnectionEnded):
                await self.send_command(last_command)
        await self._end_with_fin(linger)

    async def drop(self, *, linger: float = 2.0) -> None:
        """End as a killed controller does: a bare EOF, nothing said."""
        await self._end_with_fin(linger)

    async def _end_with_fin(self, linger: float) -> None:
        self._wire.send_fin()
        self._finish(End.HERE)
        with trio.move_on_after(linger):
            await self._drained.wait()
        self._wire.abandon()

    def kill(self) -> None:
        """End with a reset."""
        self._finish(End.HERE)
        self._wire.kill()


Behaviour = Callable[[CommandChannel], Awaitable[None]]


async def echo(channel: CommandChannel) -> None:
    """Send every command back; answer a CloseCommand with ours and end in order."""
    async for payload in channel:
        if payload == CLOSE_COMMAND:
            await channel.close()
            return
        await channel.send_command(payload)


async def sink(channel: CommandChannel) -> None:
    """Receive commands and forget them; the counters tell."""
    async for _payload in channel:
        pass


@dataclass(frozen=True, slots=True)
class Source:
    """A behaviour: send ``total`` bytes in commands of ``size``, then go on receiving."""

    total: int
    size: int = 65536

    async def __call__(self, channel: CommandChannel) -> None:
        """Do that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink, channel)
            with suppress(ConnectionEnded):
                for start in range(0, self.total, self.size):
                    await channel.send_command(command("", size=min(self.size, self.total - start)))
