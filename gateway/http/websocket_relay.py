"""A WebSocket that passes through: frames unchanged, with pings of our own between them.

Owns: the two pumps, injecting pings and swallowing their pongs, the session's log lines, and
closing both legs in order. The bridge (``agents.session``) has other pumps on the same loop; they
are judged alike.

Must not know: how either leg was opened, what the payload means, whose session it is.

There is no queue between reader and writer: receive, look at the headers, send. What is sent on is
what arrived, never more and never in other pieces, but for pongs that answer our pings, which are
taken out, and our own pings, which go between two frames.

Order without a lock. The scanner's state changes and the bytes go to the stream in one step
(``send_nowait`` takes them all, whatever the kernel does), so "at a boundary" holds for the stream
at every moment at which another task can look, also after a pump was cancelled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from gateway.config.models import KeepaliveConfig
from gateway.errors import Draining, PeerLost
from gateway.observability.logs import get_logger
from gateway.protocol.websocket import (
    CloseCode,
    Opcode,
    close_frame,
    control_frame,
    is_close_code,
)
from gateway.protocol.ws_relay import FrameScanner, mask_frame
from gateway.runtime.ended_session import EndedSession, IdleTimes
from gateway.runtime.session_end import Endable, How, SessionEnd, Side
from gateway.runtime.session_loop import (
    CLIENT_UNSENT,
    CLIENT_USER_TIMEOUT,
    CLOSE_TIMEOUT,
    LAST_WORDS,
    LegWatch,
    Limits,
    SessionLoop,
    Sign,
)
from gateway.runtime.session_view import SessionView
from gateway.transport.stream import Stream, StreamBroken

_log = get_logger("session")

# What a server says, in the mouth of a client: it leaves. 1008 is what the *agent* is told whose
# node another one got; the controller has violated nothing.
_TO_CONTROLLER: Final = {
    int(CloseCode.SERVICE_RESTART): int(CloseCode.GOING_AWAY),
    int(CloseCode.POLICY): int(CloseCode.GOING_AWAY),
}


class LiveSessions(Protocol):
    """Where a session is entered for as long as it lives, so that stopping can end it."""

    def register(self, session: Endable) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The liveness limits of both legs."""

    client: Limits
    controller: Limits

    @classmethod
    def of(cls, config: KeepaliveConfig) -> RelayLimits:
        """Return what the configuration says; controllers may be silent for longer."""
        interval, suspect = config.interval, config.suspect_after
        return cls(
            Limits(interval, suspect, config.dead_after),
            Limits(interval, suspect, config.controller_dead_after),
        )


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a session: ``leading`` is what arrived on it already."""

    side: Side
    stream: Stream
    leading: bytes


class _Way:
    """One direction: what comes from ``source`` and goes to ``sink``."""

    __slots__ = ("ended", "inserted", "leading", "scanner", "sink", "source")

    def __init__(self, source: Leg, sink: Leg, is_ours: Callable[[bytes], bool]) -> None:
        self.source = source
        self.sink = sink
        self.leading = source.leading
        self.scanner = FrameScanner(is_ours)
        self.inserted: trio.Event | None = None  # somebody waits for the end of a frame
        self.ended = trio.Event()  # a Close frame has passed

    def frame(self, frame: bytes) -> bytes:
        """Return an unmasked frame of ours as this direction must have it."""
        if self.sink.side is Side.CONTROLLER:
            return mask_frame(frame, os.urandom(4))
        return frame

    async def send(self, data: bytes) -> None:
        """Send ``data`` after all that was sent before. Raises StreamBroken."""
        stream = self.sink.stream
        if data and not stream.send_nowait(data):
            await stream.flush()


class RelaySession:
    """A relayed WebSocket from its 101 to its end.

    ``client`` is the agent, or whoever asked; ``names`` says in logs who is connected to whom.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        client: Leg,
        controller: Leg,
        limits: RelayLimits,
        generation: int = 0,
        on_end: Callable[[EndedSession], None] = lambda ended: None,
    ) -> None:
        """``generation`` is that of the configuration.

        ``on_end`` is told as soon as an agent's session is over, before its legs are closed.
        """
        self.names = names
        self._interval = limits.client.interval
        self._generation = generation
        self._on_end = on_end
        self.started_at = trio.current_time()
        self._client = client
        self._controller = controller
        mark = b"rgw" + os.urandom(4).hex().encode() + b"-"
        self._client_watch = LegWatch(
            client.side, client.stream, limits.client, send_ping=self._ping_client, mark=mark
        )
        self._controller_watch = LegWatch(
            Side.CONTROLLER,
            controller.stream,
            limits.controller,
            send_ping=self._ping_controller,
            mark=mark,
        )
        self._up = _Way(client, controller, self._client_watch.owns_pong)
        self._down = _Way(controller, client, self._controller_watch.owns_pong)
        self._closed: SessionEnd | None = None  # by the first Close frame that came
        self._before = self._moved()
        self._loop = SessionLoop([self._client_watch, self._controller_watch])

    @property
    def suspect(self) -> bool:
        """Whether the client has not answered a ping in time."""
        return self._client_watch.suspect

    @property
    def is_running(self) -> bool:
        """Say whether nothing has ended it; its legs may still be being closed otherwise."""
        return self._loop.is_running

    async def challenge(self) -> Sign:
        """Ask the client to show within 5 s that it lives."""
        return await self._loop.challenge(self._client_watch)

    def view(self) -> SessionView:
        """Return what is known of it now."""
        now = trio.current_time()
        moved = self._moved()
        return SessionView(
            transport="websocket",
            controller_address=str(self._controller.stream.peer),
            age=now - self.started_at,
            agent_idle=now - self._client.stream.activity.received_at,
            controller_idle=now - self._controller.stream.activity.received_at,
            bytes_from_agent=moved[0] - self._before[0],
            bytes_to_agent=moved[1] - self._before[1],
            round_trip=self._client_watch.round_trip,
            generation=self._generation,
        )

    def end(self, end: SessionEnd) -> None:
        """End the session from outside."""
        self._loop.end(end)

    async def run(self) -> SessionEnd:
        """Pass frames until one side ends, then close both legs: in order, or cut if cancelled."""
        end = SessionEnd.of(Side.GATEWAY, Draining("the gateway cut the session"))
        try:
            self._client.stream.keep_alive(user_timeout=CLIENT_USER_TIMEOUT)
            for leg in (self._client, self._controller):
                leg.stream.limit_unsent(CLIENT_UNSENT)
            self._log_start()
            try:
                end = await self._loop.run([self._pump_up, self._pump_down])
            finally:
                self._tell_end(end)
            await self._close(end)
        finally:
            self._client.stream.abort()
            self._controller.stream.abort()
        return end

    # -- the hot path ------------------------------------------------------------------------------

    async def _pump_up(self) -> SessionEnd:
        return await self._pump(self._up, self._down)

    async def _pump_down(self) -> SessionEnd:
        return await self._pump(self._down, self._up)

    async def _pump(self, way: _Way, other: _Way) -> SessionEnd:
        scanner = way.scanner
        receive = way.source.stream.receive_some
        scan = scanner.receive_data
        send = way.sink.stream.send_nowait
        data = way.leading
        way.leading = b""
        while True:
            if data:
                onward = scan(data)
                try:
                    if onward and not send(onward):
                        await way.sink.stream.flush()
                    if scanner.more:
                        await self._take_turns(way)
                except StreamBroken as error:
                    # What it sent before it closed, such as a Close frame, is still on its way; the
                    # other pump ends the session when that is through.
                    await trio.sleep(LAST_WORDS)
                    return self._closed or _lost(way.sink, error)
                if way.inserted is not None and not scanner.inserting:
                    way.inserted.set()
                if scanner.fault is not None:
                    return SessionEnd.of(way.source.side, scanner.fault)
                if scanner.closed:
                    return await self._finish_handshake(way, other)
            data = onward = b""  # an idle session must not hold on to its last batch
            try:
                data = await receive()
            except StreamBroken as error:
                return self._closed or _lost(way.source, error)
            if not data:
                side = way.source.side
                text = f"the {side.value} closed the connection without a Close frame"
                return self._closed or SessionEnd.of(side, PeerLost(text), How.EOF)

    # -- everything that is not plain passing on ---------------------------------------------------

    async def _take_turns(self, way: _Way) -> None:
        """Pass on what is left of a receive that is nothing but tiny frames."""
        while way.scanner.more:
            await trio.lowlevel.checkpoint()
            await way.send(way.scanner.receive_data(b""))

    async def _finish_handshake(self, way: _Way, other: _Way) -> SessionEnd:
        """Give the other end time to answer a Close frame that has just been passed on."""
        if self._closed is None:
            self._closed = _closed_by(way.source.side, way.scanner.close_code)
        way.ended.set()
        with trio.move_on_after(CLOSE_TIMEOUT):
            await other.ended.wait()
        return self._closed

    async def _ping_client(self, payload: bytes) -> None:
        await self._ping(self._down, self._client_watch, payload)

    async def _ping_controller(self, payload: bytes) -> None:
        await self._ping(self._up, self._controller_watch, payload)

    async def _ping(self, way: _Way, watch: LegWatch, payload: bytes) -> None:
        """Send a ping between two frames, which may have to wait for the end of one."""
        frame = way.frame(control_frame(Opcode.PING, payload))
        if way.scanner.insert(frame):
            await way.send(frame)
        elif way.scanner.inserting:
            # The one that is not asked is not to blame for what the other does not finish.
            watch.mute()
            way.inserted = trio.Event()
            await way.inserted.wait()
            way.inserted = None
            watch.unmute()
        else:
            await trio.sleep_forever()  # nothing may follow a Close frame; the session is ending

    # -- endings -----------------------------------------------------------------------------------

    async def _close(self, end: SessionEnd) -> None:
        """Close both legs in order, within 5 s."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._close_leg, self._down, self._up, end)
                nursery.start_soon(self._close_leg, self._up, self._down, end)

    async def _close_leg(self, way: _Way, back: _Way, end: SessionEnd) -> None:
        """Close the leg that ``way`` leads to and that ``back`` comes from."""
        stream = way.sink.stream
        if stream.broken is not None:
            return
        try:
            # In the middle of a frame there is no place for a Close frame: then the end of the
            # connection has to say it.
            if not way.scanner.closed and way.scanner.at_boundary:
                await way.send(way.frame(_farewell(end, way.sink.side)))
                if not back.scanner.closed and back.scanner.fault is None:
                    await _await_close_frame(back)
            await stream.send_eof()
            while await stream.receive_some():
                pass  # closing with unread bytes would reset the connection
        except StreamBroken:
            return  # nobody left to tell

    # -- logs --------------------------------------------------------------------------------------

    def _log_start(self) -> None:
        tls = self._client.stream.tls
        _log.info(
            "session started",
            **self.names,
            transport="websocket",
            controller_address=str(self._controller.stream.peer),
            tls=None if tls is None else tls.version,
        )

    def _tell_end(self, end: SessionEnd) -> None:
        ended = self._ended(end)
        fields = ended.as_fields()
        if self._client.side is not Side.AGENT:
            fields = {_of_client(name): value for name, value in fields.items() if name != "node"}
            fields |= self.names
        _log.log(
            _LEVELS[end.level],
            "session ended",
            **fields,
            transport="websocket",
            controller_round_trip_ms=_milliseconds(self._controller_watch.round_trip),
            exc_info=end.error if end.side is Side.GATEWAY and end.close_code == 1011 else None,
        )
        if self._client.side is Side.AGENT:
            self._on_end(ended)

    def _ended(self, end: SessionEnd) -> EndedSession:
        now = trio.current_time()
        moved = self._moved()
        names = self.names
        return EndedSession(
            session=names["session"],
            controller=names["controller"],
            node=names.get("node", ""),
            client=names["client"],
            controller_address=self._controller.stream.peer,
            end=end,
            at=time.time(),
            age=now - self.started_at,
            agent_idle=IdleTimes.of(self._client.stream.activity, now),
            controller_idle=IdleTimes.of(self._controller.stream.activity, now),
            bytes_from_agent=moved[0] - self._before[0],
            bytes_to_agent=moved[1] - self._before[1],
            ping_interval=self._interval,
            round_trip=self._client_watch.round_trip,
            generation=self._generation,
        )

    def _moved(self) -> tuple[int, int]:
        """Return how many bytes have been sent to the controller and to the client."""
        return (
            self._controller.stream.activity.bytes_sent,
            self._client.stream.activity.bytes_sent,
        )


_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _of_client(field: str) -> str:
    """Return what a field is called where the client is no agent."""
    return field.replace("agent", Side.CLIENT.value)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _closed_by(side: Side, code: int | None) -> SessionEnd:
    said = "without a code" if code is None else f"with {code}"
    shown = code if code is not None and is_close_code(code) else CloseCode.NORMAL
    reason = f"the {side.value} closed the session {said}"
    return SessionEnd(side, reason, shown, "info", how=How.CLOSED)


def _lost(leg: Leg, error: StreamBroken) -> SessionEnd:
    how = How.RESET if leg.stream.was_reset else How.OTHER
    return SessionEnd.of(leg.side, PeerLost(detail=f"{leg.side.value}: {error}"), how)


def _farewell(end: SessionEnd, to: Side) -> bytes:
    code = end.close_code
    if to is Side.CONTROLLER:
        code = _TO_CONTROLLER.get(code, code)
    return close_frame(code, getattr(end.error, "public", ""))


async def _await_close_frame(way: _Way) -> None:
    """Read on until the Close frame or the end; what else comes has no reader any more."""
    while not way.scanner.closed and way.scanner.fault is None:
        data = await way.source.stream.receive_some()
        if not data:
            return
        way.scanner.receive_data(data)
        while way.scanner.more:
            await trio.lowlevel.checkpoint()
            way.scanner.receive_data(b"")
