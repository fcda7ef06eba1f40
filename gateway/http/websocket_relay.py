"""A WebSocket that passes through: frames unchanged, with pings of our own between them.

Owns: the two pumps, injecting pings and swallowing their pongs, the session's log lines, and
closing both legs in order. The bridge (``agents.session``) has other pumps on the same loop; they
are judged alike.

Must not know: how either leg was opened, what the payload means, whose session it is.

There is no queue between reader and writer: receive, look at the headers, send. What is sent on is
what arrived, never more and never in other pieces, but for pongs that answer our pings, which are
taken out, and our own pings, which go between two frames.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from gateway.config.models import GatewayConfig
from gateway.errors import Draining, PeerLost
from gateway.http.websocket_ending import closed_by, explain, farewell, lost
from gateway.http.websocket_way import Leg, Way
from gateway.observability.logs import LEVELS, get_logger
from gateway.protocol.websocket import Opcode, control_frame
from gateway.protocol.ws_relay import DEFAULT_MAX_FRAME, FrameScanner
from gateway.runtime.ended_session import EndedSession, IdleTimes
from gateway.runtime.session_end import Endable, How, SessionEnd, Side
from gateway.runtime.session_loop import (
    CLIENT_UNSENT,
    CLIENT_USER_TIMEOUT,
    CLOSE_TIMEOUT,
    LAST_WORDS,
    STALL_AFTER,
    LegWatch,
    Limits,
    Rest,
    SessionLoop,
    Sign,
)
from gateway.runtime.session_view import SessionView
from gateway.transport.stream import StreamBroken

_log = get_logger("session")

# How long the rest of a frame may take before a session is ended without a Close frame behind it.
_FRAME_END: Final = 1.0


class LiveSessions(Protocol):
    """Where a session is entered for as long as it lives, so that stopping can end it."""

    def register(self, session: Endable) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The liveness limits of both legs; ``max_frame``: bytes of one frame's payload."""

    client: Limits
    controller: Limits
    max_frame: int = DEFAULT_MAX_FRAME

    @classmethod
    def of(cls, config: GatewayConfig) -> RelayLimits:
        """Return what the configuration says; controllers may be silent for longer."""
        keepalive = config.agents.keepalive
        interval, suspect = keepalive.interval, keepalive.suspect_after
        return cls(
            Limits(interval, suspect, keepalive.dead_after),
            Limits(interval, suspect, keepalive.controller_dead_after),
            config.limits.websocket_frame,
        )


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
        downward: type[FrameScanner] = FrameScanner,
        generation: int = 0,
        on_end: Callable[[EndedSession], None] = lambda ended: None,
        on_round_trip: Callable[[float], None] = lambda round_trip: None,
    ) -> None:
        """``generation`` is that of the configuration; ``downward`` follows the controller's
        frames.

        ``on_end`` is told as soon as an agent's session is over, before its legs are closed;
        ``on_round_trip`` of each ping that the client answers, seconds.
        """
        self.names = names
        self._interval = limits.client.interval
        self._generation = generation
        self._on_end = on_end
        self.started_at = trio.current_time()
        self._client = client
        self._controller = controller
        # What comes from a leg is where the pongs of that leg are, and the frames that it owes.
        client_watch = LegWatch(
            client.side,
            client.stream,
            limits.client,
            send_ping=self._ping_client,
            mark=_mark(),
            owes=lambda: self._up.scanner.remaining > 0,
            told=on_round_trip,
        )
        controller_watch = LegWatch(
            Side.CONTROLLER,
            controller.stream,
            limits.controller,
            send_ping=self._ping_controller,
            mark=_mark(),
            owes=lambda: self._down.scanner.remaining > 0,
        )
        self._client_watch = client_watch
        self._controller_watch = controller_watch
        up = FrameScanner(client_watch.owns_pong, max_frame=limits.max_frame)
        down = downward(controller_watch.owns_pong, max_frame=limits.max_frame)
        self._up = Way(client, controller, up, controller_watch)
        self._down = Way(controller, client, down, client_watch)
        self._closed: SessionEnd | None = None  # by the first Close frame that came
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
        return SessionView(
            transport="websocket",
            controller_address=str(self._controller.stream.peer),
            age=now - self.started_at,
            agent_idle=now - self._client.stream.activity.received_at,
            controller_idle=now - self._controller.stream.activity.received_at,
            bytes_from_agent=self._up.passed - self._up.scanner.inserted,
            bytes_to_agent=self._down.passed - self._down.scanner.inserted,
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
            self._log_start()
            try:  # whatever happens from here on, the end is told
                self._client.stream.keep_alive(user_timeout=CLIENT_USER_TIMEOUT)
                for leg in (self._client, self._controller):
                    leg.stream.limit_unsent(CLIENT_UNSENT)
                end = await self._loop.run([self._pump_up, self._pump_down])
            except OSError as error:  # of a socket that cannot be used any more
                end = SessionEnd.of(self._client.side, PeerLost(detail=error.strerror or ""))
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

    async def _pump(self, way: Way, other: Way) -> SessionEnd:
        scanner = way.scanner
        receive = way.source.stream.receive_some
        scan = scanner.receive_data
        send = way.sink.stream.send_nowait
        data = way.leading
        way.leading = b""
        while True:
            if data:
                onward = scan(data)
                way.passed += len(onward)
                try:
                    if onward and not send(onward):
                        await way.sink.stream.flush()
                    if scanner.more:
                        await self._take_turns(way)
                except StreamBroken as error:
                    # What it sent before it closed, such as a Close frame, is still on its way; the
                    # other pump ends the session when that is through.
                    await trio.sleep(LAST_WORDS)
                    return self._closed or lost(way.sink, error)
                if way.inserted is not None and not scanner.inserting:
                    way.watch.unmute()
                    way.inserted.set()
                    way.inserted = None
                if scanner.fault is not None:
                    return SessionEnd.of(way.source.side, scanner.fault)
                if scanner.closed:
                    return await self._finish_handshake(way, other)
            data = onward = b""  # an idle session must not hold on to its last batch
            try:
                data = await receive()
            except StreamBroken as error:
                return self._closed or lost(way.source, error)
            if not data:
                side = way.source.side
                text = f"the {side.value} closed the connection without a Close frame"
                return self._closed or SessionEnd.of(side, PeerLost(text), How.EOF)

    # -- everything that is not plain passing on ---------------------------------------------------

    async def _take_turns(self, way: Way) -> None:
        """Pass on what is left of a receive that is nothing but tiny frames."""
        while way.scanner.more:
            await trio.lowlevel.checkpoint()
            onward = way.scanner.receive_data(b"")
            way.passed += len(onward)
            await way.send(onward)

    async def _finish_handshake(self, way: Way, other: Way) -> SessionEnd:
        """Give the other end time to answer a Close frame that has just been passed on."""
        if self._closed is None:
            self._closed = closed_by(way.source.side, way.scanner.close_code)
        way.ended.set()
        if way.sink.side is Side.CLIENT:  # somebody may have paused it, with output still to come
            await way.sink.stream.wait_acknowledged(STALL_AFTER)
        with trio.move_on_after(CLOSE_TIMEOUT):
            await other.ended.wait()
        return self._closed

    def _ping_client(self, payload: bytes) -> Rest:
        return self._ping(self._down, payload)

    def _ping_controller(self, payload: bytes) -> Rest:
        return self._ping(self._up, payload)

    def _ping(self, way: Way, payload: bytes) -> Rest:
        """Send a ping between two frames, which may have to wait for the end of one."""
        frame = way.frame(control_frame(Opcode.PING, payload))
        if self._closed is not None:
            return trio.sleep_forever  # one of them has left: neither need answer any more
        if way.scanner.insert(frame):
            return way.send_nowait(frame)
        if way.scanner.inserting:
            # The one that is not asked is not to blame for what the other does not finish.
            way.watch.mute()
            way.inserted = trio.Event()
            return way.inserted.wait
        return trio.sleep_forever  # nothing may follow a Close frame; the session is ending

    # -- endings -----------------------------------------------------------------------------------

    async def _close(self, end: SessionEnd) -> None:
        """Close both legs in order, within 5 s."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._say_farewell, self._down, end)
                nursery.start_soon(self._say_farewell, self._up, end)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._close_leg, self._down, self._up)
                nursery.start_soon(self._close_leg, self._up, self._down)

    async def _say_farewell(self, way: Way, end: SessionEnd) -> None:
        """Send a Close frame where there is a place for it.

        In the middle of a frame there is none. Where the gateway ends a session of two that live,
        the rest of the frame is let through, for a second; else the end of the connection has to
        say it.
        """
        if way.scanner.closed or way.sink.stream.broken is not None:
            return
        close = way.frame(farewell(end, way.sink.side))

        def words() -> bytes:
            return b"" if end.side is way.sink.side else way.scanner.last_words(explain(end))

        try:
            if end.side is Side.GATEWAY:
                with trio.move_on_after(_FRAME_END):
                    await way.finish(lambda: words() + close)
            if way.told:
                return
            last = words()
            if last or (way.scanner.at_boundary and end.side is not Side.GATEWAY):
                way.told = True
                await way.send(last + close)
        except StreamBroken:
            return  # ``_close_leg`` finds out which side is gone

    async def _close_leg(self, way: Way, back: Way) -> None:
        """Close the leg that ``way`` leads to and that ``back`` comes from."""
        stream = way.sink.stream
        if stream.broken is not None:
            return
        try:
            if way.told:
                await stream.flush()
                if not back.scanner.closed and back.scanner.fault is None:
                    await back.await_close_frame()
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
        elif "trace_id" in self.names:
            fields["trace_id"] = self.names["trace_id"]
        _log.log(
            LEVELS[end.level],
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
            bytes_from_agent=self._up.passed - self._up.scanner.inserted,
            bytes_to_agent=self._down.passed - self._down.scanner.inserted,
            ping_interval=self._interval,
            round_trip=self._client_watch.round_trip,
            generation=self._generation,
        )


def _mark() -> bytes:
    """Return what begins the pings of one leg: nobody else's, the other leg's neither."""
    return b"rgw" + os.urandom(4).hex().encode() + b"-"


def _of_client(field: str) -> str:
    """Return what a field is called where the client is no agent."""
    return field.replace("agent", Side.CLIENT.value)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
