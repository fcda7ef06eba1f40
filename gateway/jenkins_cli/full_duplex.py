"""One command at a controller, by full-duplex HTTP: the client's side of it (PROTOCOLS E.3).

Owns: the two requests, their fields and their order, and the frames in both bodies.

Must not know: WebSockets, policy, what a failure means to whoever asked.

The controller waits 15 s for the upload once it has answered the download, so both are opened
before anything is promised to the client. Whatever happens to the download afterwards is the end of
the command; what happens to the upload only tells why.
"""

from __future__ import annotations

import uuid
from typing import Final

import trio

from gateway.config.values import Address
from gateway.errors import (
    ControllerAnswered,
    ControllerTimeout,
    ControllerUnreachable,
    RemoteProtocolError,
)
from gateway.http.controller_connection import UNUSABLE, ControllerConnection
from gateway.http.exchange import Exchange
from gateway.http.forwarding import request_headers
from gateway.http.introduction import proxy_header
from gateway.http.upstream import Upstream
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.plain_cli import CliFrame, CliFrameReader, Sender

# Of the client's request, what is about its WebSocket, its browser or its body, and not about who
# it is. A body that came back compressed would hold no frames.
_NOT_SENT: Final = frozenset(
    {b"accept", b"accept-encoding", b"cookie", b"cookie2", b"expect", b"origin", b"range"}
    | {b"referer", b"session", b"side", b"trailer"}
)
_PREFIXES_NOT_SENT: Final = (b"sec-", b"content-", b"if-")
_TARGET: Final = b"/cli?remoting=false"
DUPLEX: Final = b"hudson-duplex"
_REFUSALS: Final = frozenset({401, 403, 404})
# What an upload that has ended may take to be answered, seconds.
_LAST_ANSWER: Final = 1.0


class FullDuplex:
    """An open pair. One task receives, any may send; close it."""

    __slots__ = ("_download", "_frames", "_leading", "_lock", "_upload", "address")

    def __init__(
        self,
        address: Address,
        download: ControllerConnection,
        upload: ControllerConnection,
        leading: bytes,
    ) -> None:
        self.address = address
        self._download = download
        self._upload = upload
        self._leading = leading
        self._frames = CliFrameReader(Sender.CONTROLLER)
        self._lock = trio.Lock()

    async def send(self, frame: CliFrame) -> None:
        """Send a frame at once, however long the controller takes to take it.

        A command that does not read its input is not at fault, so nothing but the connection's
        end ends this. Raises ControllerUnreachable.
        """
        data = frame.as_stream()
        async with self._lock:
            while True:
                try:
                    await self._upload.send_body(data, ended=False)
                except ControllerTimeout:
                    data = b""  # the connection has kept it
                else:
                    return

    @property
    def sending(self) -> bool:
        """Say whether a frame is on its way."""
        return self._lock.locked()

    async def receive(self) -> list[CliFrame]:
        """Return the next frames, none at the end. Raises ControllerUnreachable."""
        while True:
            data, self._leading = self._leading, b""
            if not data:
                data = await self._download.receive_body()
                if not data:
                    return []
            try:
                self._frames.receive_data(data)
                frames = list(self._frames.frames())
            except RemoteProtocolError as error:
                raise ControllerUnreachable(UNUSABLE, detail=str(error)) from None
            if frames:
                return frames

    async def wait_for_upload_answer(self) -> int:
        """Return the status by which the controller answers the upload, which is at its end.

        Raises ControllerUnreachable.
        """
        head = await self._upload.receive_head()
        while head.status < 200:
            head = await self._upload.receive_head()
        return head.status

    async def end_upload(self) -> None:
        """Say that the client has no more to say: the controller ends what is still running.

        Never raises; takes at most 1 s.
        """
        with trio.move_on_after(_LAST_ANSWER):
            try:
                async with self._lock:
                    await self._upload.send_body(b"", ended=True)
            except (ControllerUnreachable, ControllerTimeout):
                return

    def close(self) -> None:
        """Close both connections."""
        self._download.close()
        self._upload.close()


async def open_full_duplex(exchange: Exchange, upstream: Upstream, *, until: float) -> FullDuplex:
    """Open a pair for whoever made ``exchange``, on connections of its own.

    Raises ControllerAnswered where the controller refuses, ControllerUnreachable and
    ControllerTimeout, both of which count against the address.
    """
    exchange.upstream_began()
    limit = until - trio.current_time()
    with trio.move_on_at(until):
        return await _open(exchange, upstream, str(uuid.uuid4()))
    raise ControllerTimeout(detail=f"no answer to POST /cli in {limit:.3g} s")


async def _open(exchange: Exchange, upstream: Upstream, session: str) -> FullDuplex:
    greeting = proxy_header(exchange) if upstream.introduces else None
    download, address = await upstream.connect_apart(greeting)
    upload: ControllerConnection | None = None
    try:
        try:
            await download.send_request(_head(exchange, session, b"download"), ended=True)
            leading = await _begin(download)
            upload = await upstream.connect(address, greeting)
            await upload.send_request(_head(exchange, session, b"upload"), ended=False)
        except ControllerAnswered:
            upstream.answered(address)
            raise
        except (ControllerUnreachable, ControllerTimeout):
            upstream.failed(address)
            raise
        except trio.Cancelled:
            if trio.current_effective_deadline() <= trio.current_time():
                upstream.failed(address)  # it was too late, and not the client that left
            raise
    except BaseException:
        download.close()
        if upload is not None:
            upload.close()
        raise
    upstream.answered(address)
    return FullDuplex(address, download, upload, leading)


async def _begin(download: ControllerConnection) -> bytes:
    """Receive the answer to the download up to its first byte; return what came behind that."""
    head = await download.receive_head()
    while head.status < 200:
        head = await download.receive_head()
    if head.status != 200:
        raise _refusal(head)
    if DUPLEX not in head.headers:
        raise ControllerAnswered(
            404, "the controller has no full-duplex CLI", detail="200 without Hudson-Duplex"
        )
    data = await download.receive_body()
    if not data:
        raise ControllerUnreachable(UNUSABLE, detail="the download ended at once")
    if data[0] != 0:
        raise ControllerUnreachable(
            "the controller's CLI cannot be understood",
            detail=f"the download begins with {data[0]:#04x}, not 0x00"
            " (is hudson.diyChunking set at the controller?)",
        )
    return data[1:]


def _refusal(head: ResponseHead) -> ControllerAnswered | ControllerUnreachable:
    said = head.headers.get(b"x-cli-error")
    detail = f"it answered {head.status} to POST /cli"
    if head.status in _REFUSALS or head.status >= 500:
        text = _TEXTS.get(head.status, f"the controller answered {head.status}")
        public = text if said is None else said.decode("latin-1")
        return ControllerAnswered(head.status, public, detail=detail, fields=_challenges(head))
    return ControllerUnreachable(UNUSABLE, detail=detail)


_TEXTS: Final = {
    401: "the controller does not accept these credentials",
    403: "the controller does not allow this",
    404: "the controller has no CLI at this address",
}


def _challenges(head: ResponseHead) -> tuple[Field, ...]:
    values = head.headers.get_all(b"www-authenticate")
    return tuple((b"WWW-Authenticate", value) for value in values)


def _head(exchange: Exchange, session: str, side: bytes) -> RequestHead:
    given = request_headers(
        exchange.request,
        exchange.provenance,
        request_id=exchange.request_id,
        agent_fields=False,
    )
    kept = [
        each
        for each, name in given.with_lowered_names()
        if name not in _NOT_SENT and not name.startswith(_PREFIXES_NOT_SENT)
    ]
    body: list[Field] = [(b"Content-Length", b"0")]
    if side == b"upload":
        body = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Transfer-Encoding", b"chunked"),
        ]
    pair: list[Field] = [(b"Session", session.encode()), (b"Side", side)]
    target = exchange.match.prefix.encode() + _TARGET
    return RequestHead(b"POST", target, b"1.1", Headers([*kept, *pair, *body]))
