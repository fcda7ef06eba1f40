"""What the gateway that runs on a ``state_dir`` knows (``doctor -c FILE``), asked by its socket.

Owns: whether it is well, the idle timers that it found on its paths, whether it keeps a node out,
and its own reason for a refusal, which it tells no stranger.

Must not know: the path from outside, how timers are found (``observability.idle_fingerprint``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, error, warning
from gateway.doctor.inside import Inside
from gateway.doctor.remedies import idle_settings
from gateway.errors import ConfigError
from gateway.server.control_socket import ask

_ANSWER: Final = 5.0  # seconds


async def check_running(inside: Inside) -> list[Finding]:
    """Ask the gateway that runs on ``state_dir``, if one does, how it is."""
    folder = inside.config.state_dir
    try:
        answer = await ask(folder, {"do": "status"}, within=_ANSWER)
    except ConfigError as problem:
        inside.note(str(problem).partition(": ")[2] or str(problem))
        if "permission denied" not in str(problem) and "did not answer" not in str(problem):
            return []
        inside.is_shut = True
        return [
            warning(
                Cause.GATEWAY_TROUBLE,
                "the gateway that runs here cannot be asked",
                seen=str(problem),
                meaning="What only it knows is missing from this report.",
                remedy="Run the doctor as the gateway's user, or as root.",
            )
        ]
    except OSError:
        inside.note("no gateway runs on this state_dir")
        return []
    found = inside.status = answer.get("status") or {}
    inside.note(f"{found.get('state')}, {found.get('sessions')} sessions")
    timers = [_timer(each) for each in await _items(inside, {"do": "fingerprints"})]
    return [*_trouble(found), *timers, *await _block(inside)]


async def _items(inside: Inside, question: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
    """Return what the gateway lists; nothing where it does not answer, or is too old to know."""
    try:
        answer = await ask(inside.config.state_dir, dict(question), within=_ANSWER)
    except (ConfigError, OSError):
        return ()
    return answer.get("items") or ()


def _trouble(found: Mapping[str, Any]) -> list[Finding]:
    findings = []
    last = found.get("last_reload")
    if last is not None and not last.get("ok"):
        findings.append(
            warning(
                Cause.GATEWAY_TROUBLE,
                "the gateway runs with an old configuration: the last reload failed",
                seen=f"{last.get('at')}: {last.get('reason')}",
                meaning="What the file says now is not in force.",
                remedy="Mend the file; it is loaded within two seconds (remoting-gateway status).",
            )
        )
    if not found.get("ready"):
        findings.append(
            warning(
                Cause.GATEWAY_TROUBLE,
                f"the gateway is not ready: it is {found.get('state')}",
                seen=f"state {found.get('state')}, {found.get('restarts')} restarts of workers",
                meaning="Agents and people are not served, or not by all workers.",
                remedy="Look into its log: it says why.",
            )
        )
    return findings


def _timer(claim: Mapping[str, Any]) -> Finding:
    """Return the finding for a timer that the gateway itself has found on a path."""
    by_age = claim.get("measure") == "age"
    seconds = float(claim.get("seconds") or 0)
    evidence, _, advice = str(claim.get("text")).rpartition("; ")
    kind = "an age limit" if by_age else "an idle timer"
    return warning(
        Cause.AGE_CUT if by_age else Cause.IDLE_CUT,
        f"{kind} of {seconds:.0f} s cuts sessions again and again ({claim.get('leg')} side,"
        f" {claim.get('network')})",
        seen=f"controller {claim.get('controller')}: {evidence}",
        meaning="The gateway has seen it by itself: builds on these sessions die.",
        remedy=f"{advice[:1].upper()}{advice[1:]}.",
        settings=() if by_age else idle_settings(seconds),
    )


async def _block(inside: Inside) -> list[Finding]:
    """Look whether an operator keeps the node out."""
    if inside.node is None:
        return []
    for each in await _items(inside, {"do": "blocks"}):
        if each.get("node") == inside.node:
            controller = each.get("controller")
            named = f" --controller {controller}" if controller else ""
            return [
                error(
                    Cause.NODE_BLOCKED,
                    f"the gateway keeps {inside.node} out: it is blocked",
                    seen=f"controller {controller or 'any'}, until {each.get('until') or 'undone'},"
                    f" reason: {each.get('reason') or 'none given'}",
                    meaning="Its agent is told 403, as with a wrong secret.",
                    remedy=f"If that is over: remoting-gateway unblock {inside.node}{named}",
                )
            ]
    return []


async def reason_of_refusal(inside: Inside) -> str | None:
    """Return why the gateway that runs here refused the node last, in the words of its log."""
    if inside.node is None or inside.status is None:
        return None
    refusals = [
        each
        for each in await _items(inside, {"do": "timeline", "node": inside.node})
        if each.get("event") == "refused"
    ]
    return str(refusals[-1].get("reason")) if refusals else None
