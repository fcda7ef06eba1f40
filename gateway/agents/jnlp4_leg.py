"""Open the controller leg of a session: TCP, ACK, TLS, identity, headers, verdict, capability.

Owns: the order of these steps, their limits, and what a controller's failures and refusals mean to
an agent (PROTOCOLS C, J.1, K.1). Above all the one rule: the secret is sent only after the
controller's key was compared with the expected one.

Must not know: WebSocket, how the expected identity was found (``identity``, ``discovery``).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import trio

from gateway.config.keys import fingerprint
from gateway.config.values import Address
from gateway.errors import (
    AlreadyConnected,
    ControllerRefused,
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
    IdentityMismatch,
    NotAuthorized,
    RemoteProtocolError,
    UnknownNode,
)
from gateway.protocol.cookie import is_cookie
from gateway.protocol.jnlp4 import (
    COOKIE,
    NODE_NAME,
    OLD_COOKIE,
    PROTOCOL_PLAINTEXT,
    SECRET_KEY,
    AckClient,
    Jnlp4Client,
    Stage,
)
from gateway.transport.dial import dial
from gateway.transport.stream import Stream, StreamBroken
from gateway.transport.tls import TlsEngine, TlsError
from gateway.transport.tls_context import pinning_client_context

CONNECT_TIMEOUT: Final = 5.0
# Includes the 15 s that a controller may take to disconnect an older session of the same node.
LEG_TIMEOUT: Final = 20.0
# A controller may collect garbage for minutes without losing its agents.
CONTROLLER_USER_TIMEOUT: Final = 300.0
_MAX_REASON: Final = 400
# The cookie was that of the node's channel, which then did not end within 15 s.
FAILED_TO_DISCONNECT: Final = "Failed to disconnect the current client"
_ACK: Final = "its ACK"


@dataclass(frozen=True, slots=True)
class LegRequest:
    """What a controller leg is opened with. Secret and cookie are not part of the repr.

    ``identity`` is the DER SubjectPublicKeyInfo that the controller must show; unused in plain
    text.
    """

    address: Address
    protocol: str
    identity: bytes = field(repr=False)
    node: str
    secret: str = field(repr=False)
    cookie: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ControllerLeg:
    """An accepted controller leg; it waits for the agent's capability.

    ``cookie`` is the controller's new cookie as hex, or None; ``leading`` is what it has sent
    already.
    """

    stream: Stream
    capability: str
    cookie: str | None = field(repr=False)
    leading: bytes = field(repr=False)
    client: Jnlp4Client = field(repr=False)

    async def send_capability(self, capability: str) -> None:
        """Send the agent's capability: the channel starts. Raises StreamBroken."""
        self.client.send_capability(capability)
        await self.stream.send_all(self.client.data_to_send())


class LegOpener:
    """Opens controller legs; holds the one TLS context that all of them share."""

    def __init__(self) -> None:
        self._tls = pinning_client_context()

    async def open(
        self, request: LegRequest, *, lap: Callable[[str], None] = lambda phase: None
    ) -> ControllerLeg:
        """Open a leg within 20 s; ``lap`` is told when a phase is finished.

        Raises UnknownNode, NotAuthorized, AlreadyConnected or ControllerRefused for what the
        controller says, IdentityMismatch, ControllerUnreachable or ControllerTimeout for what goes
        wrong.
        """
        stage = ["the connection"]
        try:
            with trio.fail_after(LEG_TIMEOUT):
                return await self._open(request, stage, lap)
        except trio.TooSlowError:
            raise ControllerTimeout(
                detail=f"{request.address}: waited {LEG_TIMEOUT:g} s for {stage[0]}"
            ) from None

    async def _open(
        self, request: LegRequest, stage: list[str], lap: Callable[[str], None]
    ) -> ControllerLeg:
        try:
            stream = await dial(request.address, timeout=CONNECT_TIMEOUT)
        except ControllerUnreachable as error:
            raise _unusable(error.detail) from None
        lap("dial")
        try:
            stream.keep_alive(user_timeout=CONTROLLER_USER_TIMEOUT)
            # Java's SSLEngineFilterLayer takes close_notify for the end of everything and then
            # never passes on the FIN that follows: the controller would keep the node connected
            # until its ping thread gives up, 4 to 9 minutes later (seen with remoting 3355). Java
            # agents send none either.
            stream.close_notify = False
            stage[0] = _ACK
            leading = await _exchange_acks(stream, request.protocol)
            lap("ack")
            if request.protocol != PROTOCOL_PLAINTEXT:
                if leading:
                    raise RemoteProtocolError("the controller spoke before the TLS handshake")
                stage[0] = "its TLS handshake"
                await self._start_tls(stream, request.identity)
                lap("tls")
            leg = await _connect(stream, request, stage, leading)
            lap("login")
        except StreamBroken as error:
            stream.abort()
            raise _unusable(f"{request.address}: {error}, while waiting for {stage[0]}") from None
        except RemoteProtocolError as error:
            stream.abort()
            # The detail may quote the controller: once it knows the secret, that is not for a log.
            said = str(error) if stage[0] == _ACK else error.public
            raise _unusable(f"{request.address}: {said}, while waiting for {stage[0]}") from None
        except GatewayError:
            await stream.aclose()
            raise
        except BaseException:
            stream.abort()
            raise
        return leg

    async def _start_tls(self, stream: Stream, identity: bytes) -> None:
        engine = TlsEngine(self._tls, server_side=False)
        await stream.start_tls(engine)
        try:
            shown = engine.peer_public_key()
        except TlsError as error:
            raise IdentityMismatch(detail=str(error)) from None
        if shown != identity:
            said = "no certificate" if shown is None else f"the key {fingerprint(shown)}"
            raise IdentityMismatch(detail=f"the agent port shows {said}")


async def _exchange_acks(stream: Stream, protocol: str) -> bytes:
    """Return what came with the controller's ACK: without TLS its headers follow at once."""
    acks = AckClient(protocol)
    leading = b""
    await stream.send_all(acks.data_to_send())
    while not acks.done:
        data = await stream.receive_some()
        if not data:
            acks.receive_eof()
        leading = acks.receive_data(data)
    return leading


async def _connect(
    stream: Stream, request: LegRequest, stage: list[str], leading: bytes
) -> ControllerLeg:
    headers = {NODE_NAME: request.node, SECRET_KEY: request.secret}
    if request.cookie is not None:
        # The key was renamed in remoting 4.7; the other end ignores the one it does not know.
        headers[COOKIE] = headers[OLD_COOKIE] = request.cookie
    client = Jnlp4Client(headers)
    await stream.send_all(client.data_to_send())
    data = leading
    while True:
        client.receive_data(data)
        out = client.data_to_send()
        if client.stage is Stage.REFUSED:
            await _say_goodbye(stream, out)
            secrets = (request.secret, request.cookie or "")
            raise refusal(client.refusal, request.node, secrets=secrets)
        await stream.send_all(out)
        if client.stage is Stage.OPEN:
            break
        stage[0] = client.stage.value.removeprefix("waiting for ")
        data = await stream.receive_some()
        if not data:
            client.receive_eof()
    return ControllerLeg(
        stream, client.capability, _hex_or_none(client.cookie), client.leading, client
    )


async def _say_goodbye(stream: Stream, out: bytes) -> None:
    # The refusal has been read; a controller that left without our BYE changes nothing.
    with contextlib.suppress(StreamBroken):
        await stream.send_all(out)


def is_already_connected(text: str, node: str) -> bool:
    """Say whether this is how a controller says that ``node`` is (PROTOCOLS A.3, C.3), all of it:
    other refusals quote names that strangers have chosen.
    """
    return text == FAILED_TO_DISCONNECT or text in already_connected(node)


def already_connected(node: str) -> tuple[str, ...]:
    """Return the sentences by which newer and older controllers say that ``node`` is there."""
    return tuple(
        f"{node} is already connected to this {place}. Rejecting this connection."
        for place in ("controller", "master")
    )


def refusal(text: str, node: str, *, secrets: Iterable[str]) -> GatewayError:
    """Return the error for a controller's refusal of ``node`` (PROTOCOLS C.3, K.1).

    ``secrets`` are struck out of what is shown: whatever a controller echoes must not reach a log
    or a header. What the refusal means does not depend on them: a guess may be any word of it.
    """
    shown = text
    for secret in filter(None, secrets):
        shown = re.sub(re.escape(secret), "***", shown, flags=re.IGNORECASE)
    shown = shown[:_MAX_REASON]
    # Said only after the secret was right; that it could not be disconnected, after the cookie was.
    if is_already_connected(text, node):
        return AlreadyConnected(shown)
    if text.startswith("Unknown client name"):
        return UnknownNode(detail=shown)
    if text == "Authorization failure":
        return NotAuthorized(detail="the controller says: Authorization failure")
    return ControllerRefused(shown or None)


def _hex_or_none(cookie: str | None) -> str | None:
    """Return a cookie that may stand in a header and come back; real ones are 64 hex characters."""
    return cookie if cookie is not None and is_cookie(cookie.encode()) else None


def _unusable(detail: str) -> ControllerUnreachable:
    return ControllerUnreachable(
        "the controller's agent port cannot be used", detail=detail, for_agents=True
    )
