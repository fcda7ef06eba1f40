"""One agent session: the bytes between an agent's WebSocket and a controller's JNLP4 stream.

Owns: the two pumps (the whole hot path of the bridge), the session's log lines, and closing both
legs in order. After the capability exchange both sides carry the same bytes, so nothing here looks
into a chunk.

Must not know: how either leg was opened, or which policy let the agent in.

There is no queue between reader and writer: receive, transform, send. What a peer does not take
stops the reading from the other, and what is in flight per direction is one receive.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from gateway.agents.jnlp4_leg import ControllerLeg
from gateway.errors import ControllerClosed, Draining, PeerLost, RemoteProtocolError
from gateway.observability.logs import LEVELS, get_logger
from gateway.protocol.chunks import ChunkCutter
from gateway.protocol.websocket import (
    Close,
    CloseCode,
    Data,
    Event,
    Opcode,
    Ping,
    Pong,
    WebSocketReader,
    close_frame,
    control_frame,
    frame_header,
)
from gateway.runtime.ended_session import EndedSession, IdleTimes
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.runtime.session_loop import (
    CLIENT_UNSENT,
    CLIENT_USER_TIMEOUT,
    CLOSE_TIMEOUT,
    LAST_WORDS,
    LegWatch,
    Limits,
    Rest,
    SessionLoop,
    Sign,
)
from gateway.runtime.session_view import SessionView
from gateway.transport.stream import Stream, StreamBroken

_log = get_logger("session")

# One receive may hold 80,000 empty frames, half a second's work: the other sessions have their turn
# in between. Agents that fragment make 64 events of a receive.
_EVENTS_A_TURN: Final = 256
# Remoting 4.0 to 4.2 send bare serialized commands without chunk headers (PROTOCOLS A.6).
_UNFRAMED: Final = b"\xac\xed"


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who is connected to whom, and under which configuration."""

    id: str
    controller: str
    node: str
    client: str
    chunks_per_message: str
    generation: int = 0
    trace_id: str | None = None


class AgentSession:
    """A bridged session from its 101 to its end."""

    def __init__(
        self,
        info: SessionInfo,
        *,
        agent: Stream,
        leading: bytes,
        leg: ControllerLeg,
        limits: Limits,
        on_end: Callable[[EndedSession], None] = lambda ended: None,
        on_round_trip: Callable[[float], None] = lambda round_trip: None,
    ) -> None:
        """``on_end`` is told as soon as the session is over, before its legs are closed.

        ``on_round_trip`` is told of each answered ping, seconds.
        """
        self.info = info
        self.started_at = trio.current_time()
        self._agent = agent
        self._controller = leg.stream
        self._leg = leg
        self._leading = leading
        self._interval = limits.interval
        self._on_end = on_end
        self._reader = WebSocketReader()
        self._first = b""  # the first payload byte, while it is the only one
        self._framed = False
        self._before = self._moved()  # by the handshakes
        self._agent_watch = LegWatch(
            Side.AGENT, agent, limits, send_ping=self._ping, told=on_round_trip
        )
        never = float("inf")  # JNLP4 has no ping, and a controller may be silent for hours
        silent = Limits(limits.interval, never, never, limits.stall_after)
        self._loop = SessionLoop([self._agent_watch, LegWatch(Side.CONTROLLER, leg.stream, silent)])

    @property
    def suspect(self) -> bool:
        """Whether the agent has not answered a ping in time."""
        return self._agent_watch.suspect

    @property
    def is_running(self) -> bool:
        """Say whether nothing has ended it; its legs may still be being closed otherwise."""
        return self._loop.is_running

    async def challenge(self) -> Sign:
        """Ask the agent to show within 5 s that it lives."""
        return await self._loop.challenge(self._agent_watch)

    def view(self) -> SessionView:
        """Return what is known of it now."""
        now = trio.current_time()
        moved = self._moved()
        return SessionView(
            transport="jnlp4",
            controller_address=str(self._controller.peer),
            age=now - self.started_at,
            agent_idle=now - self._agent.activity.received_at,
            controller_idle=now - self._controller.activity.received_at,
            bytes_from_agent=moved[0] - self._before[0],
            bytes_to_agent=moved[1] - self._before[1],
            round_trip=self._agent_watch.round_trip,
            generation=self.info.generation,
        )

    def end(self, end: SessionEnd) -> None:
        """End the session from outside."""
        self._loop.end(end)

    async def run(self, capability: str) -> SessionEnd:
        """Give the agent's ``capability`` to the controller and move bytes until one side ends.

        Both legs are closed afterwards, whatever happened: in order, or cut if cancelled.
        """
        end = SessionEnd.of(Side.GATEWAY, Draining("the gateway cut the session"))
        try:
            self._log_start()
            try:  # whatever happens from here on, the end is told
                self._agent.keep_alive(user_timeout=CLIENT_USER_TIMEOUT)
                self._agent.limit_unsent(CLIENT_UNSENT)
                # A controller that has closed already may have said something first: the pumps find
                # out.
                with contextlib.suppress(StreamBroken):
                    await self._leg.send_capability(capability)
                self._before = self._moved()
                end = await self._loop.run([self._pump_to_controller, self._pump_to_agent])
            except OSError as error:  # of a socket that cannot be used any more
                end = SessionEnd.of(Side.AGENT, PeerLost(detail=error.strerror or ""))
            finally:
                self._tell_end(end)
            await self._close(end)
        finally:
            self._agent.abort()
            self._controller.abort()
        return end

    # -- the hot path ------------------------------------------------------------------------------

    async def _pump_to_controller(self) -> SessionEnd:
        reader = self._reader
        receive = self._agent.receive_some
        controller = self._controller
        data = self._leading
        self._leading = b""
        while True:
            if data:
                reader.receive_data(data)
                payload = reader.read_binary()
                ending = None
                try:
                    event = reader.next_event()
                    if event is not None or not self._framed:
                        payload, ending = await self._unwrap(reader, payload, event)
                except RemoteProtocolError as error:
                    return SessionEnd.of(Side.AGENT, error)
                except StreamBroken as error:
                    return self._lost(Side.AGENT, error)
                if payload:
                    try:
                        if not controller.send_nowait(payload):
                            await controller.flush()
                    except StreamBroken as error:
                        # What it sent before it closed is still on its way to the agent; the other
                        # pump ends the session when that is through.
                        await trio.sleep(LAST_WORDS)
                        return self._lost(Side.CONTROLLER, error)
                if ending is not None:
                    return ending
            data = payload = b""  # an idle session must not hold on to its last batch
            try:
                data = await receive()
            except StreamBroken as error:
                return self._lost(Side.AGENT, error)
            if not data:
                text = "the agent closed the connection without a Close frame"
                return SessionEnd.of(Side.AGENT, PeerLost(text), How.EOF)

    async def _pump_to_agent(self) -> SessionEnd:
        cutter = ChunkCutter(one_per_message=self.info.chunks_per_message == "one")
        receive = self._controller.receive_some
        agent = self._agent
        data = self._leg.leading
        while True:
            frames = _frame(cutter.receive_data(data)) if data else b""
            if frames:
                try:
                    if not agent.send_nowait(frames):
                        await agent.flush()
                except StreamBroken as error:
                    return self._lost(Side.AGENT, error)
            data = frames = b""
            try:
                data = await receive()
            except StreamBroken as error:
                return self._lost(Side.CONTROLLER, error)
            if not data:
                held = f"{cutter.held} bytes of an incomplete chunk were left" * bool(cutter.held)
                return SessionEnd.of(Side.CONTROLLER, ControllerClosed(detail=held), How.EOF)

    # -- everything that is not plain payload ------------------------------------------------------

    async def _unwrap(
        self, reader: WebSocketReader, payload: bytes, event: Event | None
    ) -> tuple[bytes, SessionEnd | None]:
        """Return ``payload`` and what else was received with it, and the end if a Close frame
        followed.
        """
        parts = [payload]
        ending = None
        turn = 0
        while event is not None:
            turn += 1
            if turn % _EVENTS_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            if isinstance(event, Data):
                parts.append(event.payload)
            elif isinstance(event, Ping):
                await self._agent.send_all(control_frame(Opcode.PONG, event.payload))
            elif isinstance(event, Pong):
                self._agent_watch.receive_pong(event.payload)
            else:
                ending = _closed_by_agent(event)
                break
            parts.append(reader.read_binary())
            event = reader.next_event()
        if reader.inside_message:
            # Remoting before 3107 writes a chunk's header and body as two fragments, in two writes:
            # without this a small command costs it 44 ms (seen with 3077 on a bare bridge).
            self._agent.acknowledge_now()
        payload = b"".join(parts)
        return payload if self._framed else self._check_first(payload), ending

    def _check_first(self, payload: bytes) -> bytes:
        """Hold the first byte back until the second shows that this agent sends chunk headers."""
        payload = self._first + payload
        if len(payload) < len(_UNFRAMED):
            self._first = payload
            return b""
        if payload.startswith(_UNFRAMED):
            raise RemoteProtocolError(
                "this agent is too old for WebSocket: remoting 4.2.1 or newer is required"
            )
        self._framed = True
        self._first = b""
        return payload

    def _ping(self, payload: bytes) -> Rest:
        sent = self._agent.send_nowait(control_frame(Opcode.PING, payload))
        return None if sent else self._agent.flush

    def _lost(self, side: Side, error: StreamBroken) -> SessionEnd:
        stream = self._agent if side is Side.AGENT else self._controller
        said = str(error) if side is Side.AGENT else f"controller: {error}"
        how = How.RESET if stream.was_reset else How.OTHER
        return SessionEnd.of(side, PeerLost(detail=said), how)

    # -- endings -----------------------------------------------------------------------------------

    async def _close(self, end: SessionEnd) -> None:
        """Close both legs in order, within 5 s."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._close_agent, end)
                nursery.start_soon(_close_controller, self._controller)

    async def _close_agent(self, end: SessionEnd) -> None:
        stream = self._agent
        if stream.broken is not None:
            return
        try:
            await stream.send_all(close_frame(end.close_code, _close_reason(end)))
            if not self._reader.closed and not isinstance(end.error, RemoteProtocolError):
                await self._await_close_frame()
            await stream.send_eof()
            await _drain(stream)
        except StreamBroken:
            return  # the agent is gone; there is nobody left to tell

    async def _await_close_frame(self) -> None:
        """Read on until the agent's own Close frame or its EOF; what else comes has no reader any
        more.
        """
        while not self._reader.closed:
            data = await self._agent.receive_some()
            if not data:
                return
            self._reader.receive_data(data)
            try:
                while self._reader.read_binary() or self._reader.next_event() is not None:
                    pass
            except RemoteProtocolError:
                return

    def _log_start(self) -> None:
        tls = self._agent.tls
        _log.info(
            "session started",
            **self._names(),
            **self._trace(),
            controller_address=str(self._controller.peer),
            tls=None if tls is None else tls.version,
        )

    def _tell_end(self, end: SessionEnd) -> None:
        ended = self._ended(end)
        _log.log(
            LEVELS[end.level],
            "session ended",
            **ended.as_fields(),
            **self._trace(),
            exc_info=end.error if end.side is Side.GATEWAY and end.close_code == 1011 else None,
        )
        self._on_end(ended)

    def _ended(self, end: SessionEnd) -> EndedSession:
        now = trio.current_time()
        moved = self._moved()
        return EndedSession(
            **self._names(),
            controller_address=self._controller.peer,
            end=end,
            at=time.time(),
            age=now - self.started_at,
            agent_idle=IdleTimes.of(self._agent.activity, now),
            controller_idle=IdleTimes.of(self._controller.activity, now),
            bytes_from_agent=moved[0] - self._before[0],
            bytes_to_agent=moved[1] - self._before[1],
            ping_interval=self._interval,
            round_trip=self._agent_watch.round_trip,
            generation=self.info.generation,
        )

    def _moved(self) -> tuple[int, int]:
        """Return how many bytes have been sent to the controller and to the agent."""
        return self._controller.activity.bytes_sent, self._agent.activity.bytes_sent

    def _trace(self) -> dict[str, str]:
        trace_id = self.info.trace_id
        return {} if trace_id is None else {"trace_id": trace_id}

    def _names(self) -> dict[str, str]:
        info = self.info
        return {
            "session": info.id,
            "controller": info.controller,
            "node": info.node,
            "client": info.client,
        }


def _frame(messages: list[bytes | memoryview]) -> bytes:
    """Return ``messages`` as final binary frames, in one piece."""
    parts: list[bytes | memoryview] = []
    for message in messages:
        parts.append(frame_header(Opcode.BINARY, len(message)))
        parts.append(message)
    return b"".join(parts)


def _closed_by_agent(close: Close) -> SessionEnd:
    code = CloseCode.NORMAL if close.code is None else close.code
    said = "without a code" if close.code is None else f"with {close.code}"
    reason = f"the agent closed the session {said}"
    return SessionEnd(Side.AGENT, reason, code, "info", how=How.CLOSED)


def _close_reason(end: SessionEnd) -> str:
    """Return what the Close frame says: the public text only."""
    return getattr(end.error, "public", "")


async def _close_controller(stream: Stream) -> None:
    if stream.broken is not None:
        return
    try:
        await stream.send_eof()
        # Closing with unread bytes would reset the connection, and with it what the agent sent
        # last.
        await _drain(stream)
    except StreamBroken:
        return


async def _drain(stream: Stream) -> None:
    while await stream.receive_some():
        pass
