"""How a WebSocket that passes through has ended, and what each side is told of it.

Owns: the end that a Close frame or a broken leg makes; the Close frame and the words for each side.

Must not know: pumps, sockets, when a session ends (``websocket_relay``).
"""

from __future__ import annotations

from typing import Final

from gateway.errors import PeerLost
from gateway.http.websocket_way import Leg
from gateway.protocol.websocket import CloseCode, close_frame, is_close_code
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.transport.stream import StreamBroken

# What a server says, in the mouth of a client: it leaves. 1008 is what the *agent* is told whose
# node another one got; the controller has violated nothing.
_TO_CONTROLLER: Final = {
    int(CloseCode.SERVICE_RESTART): int(CloseCode.GOING_AWAY),
    int(CloseCode.POLICY): int(CloseCode.GOING_AWAY),
}


def closed_by(side: Side, code: int | None) -> SessionEnd:
    """Return the end that a Close frame from ``side`` is; ``code`` None: it had none."""
    said = "without a code" if code is None else f"with {code}"
    shown = code if code is not None and is_close_code(code) else CloseCode.NORMAL
    reason = f"the {side.value} closed the session {said}"
    return SessionEnd(side, reason, shown, "info", how=How.CLOSED)


def lost(leg: Leg, error: StreamBroken) -> SessionEnd:
    """Return the end that a broken leg is."""
    how = How.RESET if leg.stream.was_reset else How.OTHER
    return SessionEnd.of(leg.side, PeerLost(detail=f"{leg.side.value}: {error}"), how)


def explain(end: SessionEnd) -> str:
    """Return what a client may read about ``end``."""
    if end.side is Side.CONTROLLER:
        return "the connection to the controller was lost"
    return str(getattr(end.error, "public", end.reason))


def farewell(end: SessionEnd, to: Side) -> bytes:
    """Return the Close frame for one side, unmasked."""
    code = end.close_code
    if to is Side.CONTROLLER:
        code = _TO_CONTROLLER.get(code, code)
    return close_frame(code, getattr(end.error, "public", ""))
