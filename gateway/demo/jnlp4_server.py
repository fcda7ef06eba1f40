"""The controller's side of one JNLP4-connect (or JNLP4-plaintext) handshake.

Owns: the order of what is said and waited for, from the ACK to the first command (PROTOCOLS C.1 and
C.2), and who is refused with which text (C.3, C.4: name, then secret, then launcher, then cookie).

Must not know: sockets' listeners, HTTP. ``Host`` is what it needs of the controller.

As the recordings show the Java classes: the ACK is said without waiting for the peer's, the headers
(always with a new cookie) as soon as TLS is up, the verdict as soon as the peer's headers are in,
the capability only after the peer's verdict; a refusal is followed by waiting for any five bytes or
10 s. Nothing has a deadline but the ACK and that wait: a peer must bring its own.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import trio

from gateway.demo.channel import StandInChannel
from gateway.demo.faults import Faults, Refuse, Stage, UseIdentity
from gateway.demo.identity import InstanceIdentity
from gateway.demo.stream import End, Wire
from gateway.demo.wire import (
    ACK,
    BYE,
    COOKIE_KEY,
    OLD_COOKIE_KEY,
    WireError,
    format_headers,
    new_cookie,
    parse_headers,
    u16str,
)

ACCEPTED: Final = "OK"
_ABORT_BYTES: Final = 5  # AbstractFilterLayer waits for as many, whatever they are


@dataclass(frozen=True, slots=True)
class Timings:
    """Limits in seconds, Java's own by default."""

    ack: float = 10.0  # ProtocolStack.handshakingTimeout
    bye: float = 10.0  # the same, for the confirmation of a refusal
    disconnect: float = 15.0  # DefaultJnlpSlaveReceiver, for the old channel of a known cookie
    linger: float = 2.0  # ours: for the peer's own end after our FIN


@dataclass(slots=True)
class Attempt:
    """What one connection to the TCP agent port came to: tests look here for what was never sent.

    ``received`` counts the peer's bytes, inside TLS once it was up. ``headers`` are the peer's,
    None if they never came or were malformed; ``pipelined`` is how many bytes were already behind
    them when they were judged: more than the four of an ``OK`` can cost a real peer the reason.
    """

    peer_host: str
    peer_port: int
    protocol: str | None = None
    stage: Stage = Stage.ACCEPT
    tls_version: str | None = None
    received: int = 0
    pipelined: int = 0
    headers: Mapping[str, str | None] | None = field(default=None, repr=False)
    verdict: str | None = None  # OK, or ERROR or FATAL with the reason
    peer_verdict: str | None = None
    cookie: str | None = field(default=None, repr=False)
    end: End | None = None
    detail: str = ""
    finished: trio.Event = field(default_factory=trio.Event, repr=False)


class Host(Protocol):
    """What a handshake asks of the controller it belongs to."""

    faults: Faults
    nodes: dict[str, bool]
    capability: str
    cookie_key: str
    timings: Timings
    channels: dict[str, StandInChannel]

    def secret(self, node: str) -> str:
        """Return the secret that the node must show."""

    def tls_context(self, presented: InstanceIdentity | None) -> ssl.SSLContext:
        """Return a server context with the certificate of ``presented``, of the own key if None."""


async def reach(host: Host, wire: Wire, attempt: Attempt, stage: Stage, due: bytes = b"") -> None:
    """Note the stage, then let its faults happen or say what is due; raises ConnectionEnded."""
    attempt.stage = stage
    attempt.received = wire.received
    await host.faults.perform(stage, wire, due)


async def accept(
    host: Host, wire: Wire, attempt: Attempt, *, over_tls: bool
) -> StandInChannel | None:
    """Run the handshake after its preamble; return the channel, or None if the peer was refused.

    Raises ConnectionEnded and WireError when it comes to nothing.
    """
    await reach(host, wire, attempt, Stage.ACK, ACK)
    await _read_ack(host, wire)
    await reach(host, wire, attempt, Stage.TLS)
    if over_tls:
        wrong = host.faults.find(Stage.TLS, UseIdentity)
        context = host.tls_context(wrong.identity if wrong is not None else None)
        await wire.start_tls(context, server_side=True)
        attempt.tls_version = wire.tls_version
    attempt.cookie = new_cookie()
    await reach(
        host, wire, attempt, Stage.HEADERS, format_headers({host.cookie_key: attempt.cookie})
    )
    attempt.verdict = await _judge(host, wire, attempt)
    await reach(host, wire, attempt, Stage.VERDICT, u16str(attempt.verdict))
    if attempt.verdict != ACCEPTED:
        with trio.move_on_after(host.timings.bye):
            await wire.read_exactly(_ABORT_BYTES)
        return None
    attempt.peer_verdict = (await wire.read_u16()).decode(errors="replace")
    if attempt.peer_verdict.startswith(("ERROR: ", "FATAL: ")):
        await wire.send(BYE)
        with trio.move_on_after(host.timings.bye):
            await _wait_for_the_end(wire)
        return None
    await reach(host, wire, attempt, Stage.CAPABILITY, u16str(host.capability))
    peer_capability = (await wire.read_u16()).decode(errors="replace")
    await reach(host, wire, attempt, Stage.CHANNEL)
    node = (attempt.headers or {}).get("Node-Name") or ""
    return StandInChannel(wire, node=node, cookie=attempt.cookie, peer_capability=peer_capability)


async def _wait_for_the_end(wire: Wire) -> NoReturn:
    while True:
        await wire.read_some()


async def _read_ack(host: Host, wire: Wire) -> None:
    with trio.move_on_after(host.timings.ack) as scope:
        ack = await wire.read_exactly(len(ACK))
        if ack != ACK:
            raise WireError(f"Incorrect acknowledgement received, got 0x{ack.hex()}")
    if scope.cancelled_caught:
        raise WireError("Timeout waiting for ACK")


async def _judge(host: Host, wire: Wire, attempt: Attempt) -> str:
    body = await wire.read_u16()
    attempt.pipelined = wire.pending
    try:
        attempt.headers = parse_headers(body)
    except WireError:
        verdict = "ERROR: Malformed connection header"
    else:
        verdict = await _approve(host, wire, attempt.headers)
    refusal = host.faults.find(Stage.VERDICT, Refuse)
    return verdict if refusal is None else refusal.verdict


async def _approve(host: Host, wire: Wire, headers: Mapping[str, str | None]) -> str:
    """Return the verdict on a peer's headers, in Jenkins' order."""
    name = headers.get("Node-Name")
    if name is None or name not in host.nodes:
        return f"ERROR: Unknown client name: {'null' if name is None else name}"
    secret = headers.get("Secret-Key")
    if secret is None:
        raise WireError("no Secret-Key: Java dies of a NullPointerException here")
    if not hmac.compare_digest(secret.encode("utf-8", "replace"), host.secret(name).encode()):
        return "ERROR: Authorization failure"
    if not host.nodes[name]:
        return f"ERROR: {name} is not an inbound agent"
    live = host.channels.get(name)
    if live is None or live.end is not None:
        return ACCEPTED
    cookie = headers.get(COOKIE_KEY) or headers.get(OLD_COOKIE_KEY)
    if cookie is None or cookie != live.cookie:
        return f"ERROR: {name} is already connected to this controller. Rejecting this connection."
    return await _disconnect(host, wire, live)


async def _disconnect(host: Host, wire: Wire, live: StandInChannel) -> str:
    """End the channel that a newcomer with its cookie replaces (PROTOCOLS C.4)."""
    with trio.move_on_after(host.timings.disconnect):
        await host.faults.perform(Stage.DISCONNECT, wire)
        await live.close(linger=0)
        return ACCEPTED
    return "ERROR: Failed to disconnect the current client"
