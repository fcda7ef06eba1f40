"""The session in use: pings, and what becomes of it while nothing moves.

Owns: the hold, and telling an idle timer from a limit on age, from an end that the server wanted,
and from a path that has silently died.

Must not know: how the session was opened.

While the session is held, only what the server sends moves on it: that is the situation that idle
timers are for. Where the server pings often enough, no timer shows, and none matters.
"""

from __future__ import annotations

from typing import Final

import trio

from gateway.demo.stream import End
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, Setting, error, warning
from gateway.doctor.remedies import idle_settings
from gateway.doctor.websocket import AgentSocket, Ended
from gateway.observability.known_timers import Counts, timers_of

_PONG_WITHIN: Final = 10.0
_STEP: Final = 1.0  # seconds between two words of progress
# An end sooner than this after a byte is the answer to it, and no timer.
_SHORTEST: Final = 0.9


async def check_ping(case: Case) -> list[Finding]:
    """Ping the server once: the frames pass both ways."""
    socket = case.socket
    assert socket is not None
    took = await socket.ping(_PONG_WITHIN)
    if took is not None:
        case.note(f"answered within {took * 1000:.0f} ms")
        return []
    if socket.ended is not None:
        case.note("the session ended")
        return [_ended(socket.ended, socket)]
    case.note("no answer")
    return [_silent(f"no pong within {_PONG_WITHIN:g} s of the ping, right after the 101")]


async def check_hold(case: Case) -> list[Finding]:
    """Hold the session open without saying anything, then ping once more."""
    socket, hold = case.socket, case.question.hold
    assert socket is not None
    end = trio.current_time() + hold
    while socket.ended is None and (left := end - trio.current_time()) > 0:
        case.tell(f"holding the idle session, {left:.0f} s left, {len(socket.pings)} pings seen")
        await socket.read_until(min(end, trio.current_time() + _STEP))
    if socket.ended is not None:
        case.note(_describe(socket.ended))
        return [_ended(socket.ended, socket)]
    pings = _pings(socket, hold)
    if await socket.ping(_PONG_WITHIN) is not None:
        case.note(f"{hold:g} s survived; {pings}")
        return []
    if socket.ended is not None:
        case.note(f"ended by the first byte after {hold:g} s")
        return [_forgotten(socket, hold, f"{_describe(socket.ended)}, upon a ping")]
    case.note(f"dead after {hold:g} s; {pings}")
    return [_forgotten(socket, hold, f"no pong within {_PONG_WITHIN:g} s")]


def _pings(socket: AgentSocket, hold: float) -> str:
    if not socket.pings:
        return f"the server sent no ping within {hold:g} s"
    if len(socket.pings) == 1:
        return f"one ping of the server, after {socket.pings[0]:.0f} s"
    gaps = [b - a for a, b in zip(socket.pings, socket.pings[1:], strict=False)]
    return f"{len(socket.pings)} pings of the server, at most {max(gaps):.0f} s apart"


def _describe(ended: Ended) -> str:
    how = ended.how.value if ended.code is None else f"{ended.how.value} {ended.code}"
    return f"{how} {ended.age:.1f} s after the 101, {ended.idle:.1f} s after the last byte"


def _ended(ended: Ended, socket: AgentSocket) -> Finding:
    by_idle = ended.code == 1001 and "dle" in ended.reason
    if (ended.code is None or by_idle) and ended.idle >= _SHORTEST:
        return _idle_cut(ended, socket)
    if ended.how in (End.BARE_EOF, End.CLOSE_NOTIFY, End.RESET) and ended.age >= _SHORTEST:
        return _age_cut(ended, socket)
    return error(
        Cause.SESSION_ENDED,
        "the server ended the session",
        seen=_describe(ended) + (f": {ended.reason}" if ended.reason.isprintable() else ""),
        meaning="Not a timer on the way: the gateway or Jenkins wanted it so, or somebody"
        " disconnected the node.",
        remedy="Look for this moment in the gateway's log (session ended, reason) and in Jenkins'.",
    )


def _idle_cut(ended: Ended, socket: AgentSocket) -> Finding:
    names = [timer.name for timer in timers_of(ended.idle, Counts.IDLE)]
    known = f" {' and '.join(names)} have such a timer." if names else ""
    pings = f"{len(socket.pings)} pings of the server before"
    return error(
        Cause.IDLE_CUT,
        f"an idle timer of {ended.idle:.0f} s on the way cuts the session",
        seen=(_describe(ended), pings),
        meaning=f"A proxy or balancer ends connections on which nothing moves for"
        f" {ended.idle:.1f} s, without a word to either side.{known} Agents reconnect again and"
        " again, and builds on them die.",
        remedy=f"Raise that timer to an hour, or have pings sent more often than every"
        f" {ended.idle:.0f} s.",
        settings=idle_settings(ended.idle),
    )


def _age_cut(ended: Ended, socket: AgentSocket) -> Finding:
    names = [timer.name for timer in timers_of(ended.age, Counts.AGE)]
    known = f" {' and '.join(names)} have such a limit." if names else ""
    return error(
        Cause.AGE_CUT,
        f"the session was cut {ended.age:.0f} s after it began, though it was in use",
        seen=(_describe(ended), f"{len(socket.pings)} pings of the server before"),
        meaning=f"Perhaps a limit on the age of connections, which no ping restarts.{known}"
        " Or the proxy was reloaded just then: try again to tell the two apart.",
        remedy="If it ends after the same time again, raise the limit on a connection's age.",
        settings=(
            Setting("Google Cloud balancer", "the backend service's timeout: 86400 s"),
            Setting("HAProxy", "no timeout in `http-request set-timeout tunnel`; hard-stop-after"),
            Setting("nginx ingress", "worker-shutdown-timeout, which ends sessions after a reload"),
        ),
    )


def _forgotten(socket: AgentSocket, hold: float, evidence: str) -> Finding:
    return error(
        Cause.IDLE_CUT,
        f"after at most {hold:.0f} s of silence the path has forgotten the session",
        seen=(evidence, _pings(socket, hold)),
        meaning="A firewall or NAT drops idle connections without telling anybody. The agent and"
        " Jenkins both believe in it for minutes.",
        remedy="Have pings sent more often, or raise the firewall's timeout for idle connections.",
        settings=idle_settings(hold),
    )


def _silent(evidence: str) -> Finding:
    return warning(
        Cause.NO_PONG,
        "pings are not answered",
        seen=evidence,
        meaning="Frames do not come through, or a box on the way buffers them.",
        remedy="Let the proxy pass on bytes as they come: no buffering, no inspection of"
        " WebSockets.",
        settings=(Setting("nginx", "proxy_buffering off;"),),
    )
