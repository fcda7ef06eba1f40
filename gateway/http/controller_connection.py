"""One HTTP/1.1 connection to a controller, for one exchange after the other.

Owns: writing the request head exactly, the gate for the answer's head, whether another exchange may
follow, and the names of what goes wrong: to a client, a controller that answers ambiguously is one
that does not answer (ARCHITECTURE section 6).

Must not know: clients, which fields to send, where connections come from (``upstream``) and who
keeps them (``pool``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import trio

from gateway.errors import ControllerTimeout, ControllerUnreachable, RemoteProtocolError
from gateway.http.framing import ClientFraming
from gateway.protocol.http_head import (
    HeadLimits,
    RequestHead,
    ResponseHead,
    ResponseHeadReader,
    write_request_head,
)
from gateway.protocol.http_headers import Field
from gateway.transport.stream import Stream, StreamBroken

UNUSABLE: Final = "the controller gave no usable answer"


@dataclass(frozen=True, slots=True)
class ControllerLimits:
    """What a controller may take; times in seconds, sizes in bytes.

    ``send_timeout``: one piece of a request body (Jenkins gives a write 5 min). ``user_timeout``:
    unacknowledged data, and keep-alive probes (FIELD 1d: controllers may collect garbage for
    minutes). ``informational``: 1xx heads before the answer.
    """

    head: HeadLimits = field(default_factory=HeadLimits)
    send_timeout: float = 300.0
    user_timeout: float = 300.0
    informational: int = 32


class ControllerConnection:
    """A stream to a controller, and the state of the exchange that it serves.

    Methods raise ControllerUnreachable for whatever breaks, ControllerTimeout where they say so.
    ``reused``: this is not its first exchange. ``idle_since``: when its last one ended. ``client``:
    on whose account it is in use.
    """

    __slots__ = (
        "_body",
        "_framing",
        "_heard",
        "_informational",
        "_limits",
        "_reader",
        "_received",
        "_sent",
        "_stream",
        "_upgrading",
        "client",
        "idle_since",
        "reused",
    )

    def __init__(self, stream: Stream, limits: ControllerLimits) -> None:
        self._stream = stream
        stream.expects_answers = True  # such as 413 in the middle of an upload
        self._limits = limits
        self._framing: ClientFraming | None = None
        self._reader = ResponseHeadReader(limits.head)
        self._received = b""  # bytes after an informational head
        self._informational = 0
        self._body = b""
        self._sent = False  # something of this exchange may have reached the controller
        self._heard = False  # something of its answer has arrived
        self.client: str | None = None
        self._upgrading = False  # 101 is an answer
        self.idle_since = 0.0
        self.reused = False

    # -- the request -------------------------------------------------------------------------------

    async def send_request(
        self, head: RequestHead, body: bytes = b"", *, ended: bool, trailers: Iterable[Field] = ()
    ) -> None:
        """Send a request's head exactly as it is, and as much of its body as is there, in one send.

        ``ended``: the request is complete with that. Raises ControllerTimeout when it is not taken.
        """
        if self._framing is not None:
            self.reused = True
            self._reader = ResponseHeadReader(self._limits.head)
            self._informational = 0
        self._sent = self._heard = False
        self._framing = ClientFraming(head)
        self._upgrading = b"upgrade" in head.headers
        data = write_request_head(head) + self._encode(body, ended, trailers)
        activity = self._stream.activity
        before = activity.bytes_written
        try:
            await self._send(data)
        except ControllerUnreachable:
            self._sent = activity.bytes_written != before
            raise
        self._sent = True

    async def send_body(self, data: bytes, *, ended: bool, trailers: Iterable[Field] = ()) -> None:
        """Send a piece of the body, with ``ended`` the last. Raises ControllerTimeout."""
        await self._send(self._encode(data, ended, trailers))

    def _encode(self, data: bytes, ended: bool, trailers: Iterable[Field]) -> bytes:
        framing = self._must_have_begun()
        out = framing.send_data(data) if data else b""
        return out + framing.end_request(trailers) if ended else out

    async def _send(self, data: bytes) -> None:
        limit = self._limits.send_timeout
        try:
            if self._stream.send_nowait(data):
                return
            with trio.move_on_after(limit):
                await self._stream.flush()
                return
        except StreamBroken as error:
            raise ControllerUnreachable(detail=f"while sending: {error}") from None
        raise ControllerTimeout(detail=f"it took nothing of the request for {limit:g} s")

    # -- the answer --------------------------------------------------------------------------------

    async def receive_head(self, *, until: float = math.inf) -> ResponseHead:
        """Return the next head: informational ones (1xx, bounded in number), then the final one.

        Raises ReceiveInterrupted when nothing has come ``until`` then. May be called again after
        that, and after having been cancelled.
        """
        while True:
            data, self._received = self._received, b""
            if not data:
                data = await self._receive_some(until)
                if not data:
                    raise ControllerUnreachable(
                        UNUSABLE, detail="it closed the connection without an answer"
                    )
            try:
                head = self._reader.receive_data(data)
                if head is not None:
                    self._take_head(head, self._reader.trailing_data)
                    return head
            except RemoteProtocolError as error:
                raise _unusable(error) from None

    def _take_head(self, head: ResponseHead, rest: bytes) -> None:
        if head.status == 101 and self._upgrading:
            self._body = rest
            return
        if head.status >= 200:
            framing = self._must_have_begun()
            framing.start_response(head)
            if rest:
                self._body = framing.receive_data(rest)
            return
        self._informational += 1
        if head.status == 101:
            raise RemoteProtocolError("101 that nobody asked for")
        if self._informational > self._limits.informational:
            raise RemoteProtocolError("too many informational heads")
        self._reader = ResponseHeadReader(self._limits.head)
        self._received = rest

    @property
    def received_all(self) -> bool:
        """Say whether the whole answer is in."""
        return self._framing is not None and self._framing.received_all

    @property
    def trailers(self) -> tuple[Field, ...]:
        """The answer's trailer fields, complete once ``received_all`` is true."""
        return self._must_have_begun().trailers

    def body_at_hand(self) -> bytes:
        """Return what of the body came together with the head; ``b""`` where nothing did."""
        data, self._body = self._body, b""
        return data

    def hurry(self, until: float) -> None:
        """Have the receive that is under way interrupted ``until`` then, if not before."""
        self._stream.until = min(self._stream.until, until)

    async def receive_body(self, *, until: float = math.inf) -> bytes:
        """Return the next piece of the body, ``b""`` at its end.

        Raises ReceiveInterrupted, and may be repeated, as ``receive_head``.
        """
        framing = self._must_have_begun()
        if self._body:
            return self.body_at_hand()
        while not framing.received_all:
            data = await self._receive_some(until)
            try:
                if data:
                    piece = framing.receive_data(data)
                    if piece:
                        return piece
                else:
                    framing.receive_eof()
            except RemoteProtocolError as error:
                raise _unusable(error) from None
        return b""

    async def _receive_some(self, until: float) -> bytes:
        try:
            data = await self._stream.receive_some(until=until)
        except StreamBroken as error:
            raise ControllerUnreachable(UNUSABLE, detail=str(error)) from None
        if data:
            self._heard = True
        return data

    def _must_have_begun(self) -> ClientFraming:
        assert self._framing is not None, "send_request comes first"
        return self._framing

    # -- endings -----------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Say whether another exchange may follow: both messages complete, nothing left over, and
        neither side has asked to close.
        """
        framing = self._framing
        if framing is None:
            return self._stream.broken is None
        return (
            framing.sent_all
            and framing.received_all
            and framing.persistent
            and not framing.rest
            and not self._received
            and not self._stream.has_unsent
            and self._stream.broken is None
        )

    @property
    def dead(self) -> bool:
        """Say whether an idle connection cannot be used: whatever arrives now is an end, or a lie.

        Costs one system call.
        """
        return self._stream.has_input()

    def may_repeat(self, *, idempotent: bool) -> bool:
        """Say whether the exchange that has just failed may be repeated, as far as this connection
        goes: it failed because the controller was closing a connection that was idle.
        """
        return self.reused and not self._heard and (idempotent or not self._sent)

    def close(self) -> None:
        """Close in order between exchanges; else cut, so that Jenkins stops working on it.

        Waits for nothing: after an early answer nobody reads what is left of the request.
        """
        framing = self._framing
        if framing is None or (framing.sent_all and framing.received_all):
            self._stream.close_nowait()
        else:
            self._stream.abort()

    def take_stream(self) -> tuple[Stream, bytes]:
        """Give the stream away after 101, with what came behind that."""
        self._stream.expects_answers = False
        return self._stream, self.body_at_hand()


def _unusable(error: RemoteProtocolError) -> ControllerUnreachable:
    return ControllerUnreachable(UNUSABLE, detail=f"its answer is refused: {error}")
