"""One HTTP/1.1 connection to a controller, for one request and its answer.

Owns: the way there (TCP, TLS against the system's trust store with a check of the name), writing
the request head exactly, the gate for the answer's head, and the names of what goes wrong: to a
client, a controller that answers ambiguously is one that does not answer (ARCHITECTURE section 6).

Must not know: clients, exchanges, which fields to send.

There is no pool: every request has a connection of its own and says ``Connection: close``. A pool
would stand where ``Connector.connect`` is called.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from gateway.config.models import ControllerConfig
from gateway.config.values import ControllerUrl
from gateway.errors import ControllerTimeout, ControllerUnreachable, RemoteProtocolError
from gateway.http.framing import ClientFraming
from gateway.protocol.http_head import (
    HeadLimits,
    RequestHead,
    ResponseHead,
    ResponseHeadReader,
    write_request_head,
)
from gateway.protocol.http_headers import Field, Headers
from gateway.transport.dial import dial
from gateway.transport.stream import Stream, StreamBroken
from gateway.transport.tls_context import ClientTls, verifying_client_context

_UNUSABLE: Final = "the controller gave no usable answer"


@dataclass(frozen=True, slots=True)
class ControllerLimits:
    """What a controller may take; times in seconds, sizes in bytes.

    ``connect_timeout``: TCP and TLS (FIELD 1d; ingress-nginx 5, nginx 60). ``send_timeout``: one
    piece of a request body (Jenkins gives a write 5 min). ``user_timeout``: unacknowledged data,
    and keep-alive probes (FIELD 1d: controllers may collect garbage for minutes).
    ``informational``: 1xx heads before the answer.
    """

    head: HeadLimits = field(default_factory=HeadLimits)
    connect_timeout: float = 5.0
    send_timeout: float = 300.0
    user_timeout: float = 300.0
    informational: int = 32


class ControllerConnection:
    """A stream to a controller that serves one exchange. See ``Connector.connect``.

    Methods raise ControllerUnreachable for whatever breaks, ControllerTimeout where they say so.
    """

    __slots__ = (
        "_body",
        "_framing",
        "_informational",
        "_limits",
        "_reader",
        "_received",
        "_stream",
    )

    def __init__(self, stream: Stream, limits: ControllerLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._framing: ClientFraming | None = None
        self._reader = ResponseHeadReader(limits.head)
        self._received = b""  # bytes after an informational head
        self._informational = 0
        self._body = b""

    # -- the request -------------------------------------------------------------------------------

    async def send_request(
        self, head: RequestHead, body: bytes = b"", *, ended: bool, trailers: Iterable[Field] = ()
    ) -> None:
        """Send a request's head exactly as it is, and as much of its body as is there, in one send.

        ``ended``: the request is complete with that. Raises ControllerTimeout when it is not taken.
        """
        self._framing = ClientFraming(head)
        await self._send(write_request_head(head) + self._encode(body, ended, trailers))

    async def send_body(self, data: bytes, *, ended: bool, trailers: Iterable[Field] = ()) -> None:
        """Send a piece of the body, with ``ended`` the last. Raises ControllerTimeout."""
        await self._send(self._encode(data, ended, trailers))

    def _encode(self, data: bytes, ended: bool, trailers: Iterable[Field]) -> bytes:
        framing = self._must_have_begun()
        out = framing.send_data(data) if data else b""
        return out + framing.end_request(trailers) if ended else out

    async def _send(self, data: bytes) -> None:
        limit = self._limits.send_timeout
        with trio.move_on_after(limit):
            try:
                await self._stream.send_all(data)
            except StreamBroken as error:
                raise ControllerUnreachable(detail=f"while sending: {error}") from None
            return
        raise ControllerTimeout(detail=f"it took nothing of the request for {limit:g} s")

    # -- the answer --------------------------------------------------------------------------------

    async def receive_head(self) -> ResponseHead:
        """Return the next head: informational ones (1xx, bounded in number), then the final one.

        May be cancelled and called again.
        """
        while True:
            data, self._received = self._received, b""
            if not data:
                data = await self._receive_some()
                if not data:
                    raise ControllerUnreachable(
                        _UNUSABLE, detail="it closed the connection without an answer"
                    )
            try:
                head = self._reader.receive_data(data)
                if head is not None:
                    self._take_head(head, self._reader.trailing_data)
                    return head
            except RemoteProtocolError as error:
                raise _unusable(error) from None

    def _take_head(self, head: ResponseHead, rest: bytes) -> None:
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

    async def receive_body(self) -> bytes:
        """Return the next piece of the body, ``b""`` at its end. May be cancelled and repeated."""
        framing = self._must_have_begun()
        if self._body:
            return self.body_at_hand()
        while not framing.received_all:
            data = await self._receive_some()
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

    async def _receive_some(self) -> bytes:
        try:
            return await self._stream.receive_some()
        except StreamBroken as error:
            raise ControllerUnreachable(_UNUSABLE, detail=str(error)) from None

    def _must_have_begun(self) -> ClientFraming:
        assert self._framing is not None, "send_request comes first"
        return self._framing

    # -- endings -----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close in order after a complete answer; else cut, so that Jenkins stops working on it."""
        if self.received_all:
            await self._stream.aclose()
        else:
            self._stream.abort()


def _unusable(error: RemoteProtocolError) -> ControllerUnreachable:
    return ControllerUnreachable(_UNUSABLE, detail=f"its answer is refused: {error}")


class Connector:
    """The way to one controller."""

    __slots__ = ("_limits", "url")

    def __init__(self, url: ControllerUrl, limits: ControllerLimits | None = None) -> None:
        self.url = url
        self._limits = ControllerLimits() if limits is None else limits

    async def connect(self) -> ControllerConnection:
        """Return a fresh connection. Raises ControllerUnreachable, ControllerTimeout."""
        tls = None
        if self.url.scheme == "https":
            tls = ClientTls(_system_trust().context, self.url.host, verify=True)
        stream = await dial(self.url.address, timeout=self._limits.connect_timeout, tls=tls)
        stream.keep_alive(user_timeout=self._limits.user_timeout)
        return ControllerConnection(stream, self._limits)


@functools.cache
def _system_trust() -> ClientTls:
    """Load the system's certificate authorities once: that takes tens of milliseconds."""
    return ClientTls(verifying_client_context(), None, verify=True)


class Fetch(Protocol):
    """What ``fetch`` looks like to those who are handed it."""

    async def __call__(
        self,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]: ...


# The discovery document is some ten bytes; an error page of Jenkins is below 32 KiB.
_MAX_FETCHED: Final = 64 * 1024


async def fetch(
    controller: ControllerConfig,
    path: str,
    *,
    timeout: float = 5.0,  # noqa: ASYNC109
) -> tuple[ResponseHead, bytes]:
    """GET ``path`` from ``controller``: connection, answer and body within ``timeout`` seconds.

    Redirects are not followed: an answer from elsewhere says nothing about this controller. Raises
    ControllerTimeout, and ControllerUnreachable for all else, a body of more than 64 KiB included.
    """
    assert controller.url is not None, "only a controller with url speaks HTTP"
    with trio.move_on_after(timeout):
        return await _fetch(Connector(controller.url), path.encode("ascii"))
    raise ControllerTimeout(detail=f"GET {path} took more than {timeout:g} s")


async def _fetch(connector: Connector, path: bytes) -> tuple[ResponseHead, bytes]:
    fields: list[Field] = [
        (b"Host", connector.url.authority.encode()),
        (b"User-Agent", b"remoting-gateway"),
        (b"Accept", b"*/*"),
        (b"Connection", b"close"),
    ]
    connection = await connector.connect()
    try:
        request = RequestHead(b"GET", path, b"1.1", Headers(fields))
        await connection.send_request(request, ended=True)
        head = await connection.receive_head()
        while head.status < 200:
            head = await connection.receive_head()
        body = connection.body_at_hand()
        while not connection.received_all:
            body += await connection.receive_body()
            if len(body) > _MAX_FETCHED:
                raise ControllerUnreachable(_UNUSABLE, detail="the answer is too long")
        return head, body
    finally:
        await connection.aclose()
