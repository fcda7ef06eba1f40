"""h11 behind one small interface: the state of one exchange, and the framing of its two bodies.

Owns: every use of h11. One object serves one request and its answer, in the role of server
(``ServerFraming``) or client (``ClientFraming``). It holds no socket: received bytes go in, body
bytes come out; body bytes go in, bytes to send come out.

Must not know: fields, other than those that delimit a body. h11 never sees a real head, in either
direction: the gate has judged it, and h11 gets the few fields that decide about framing and
persistence. So nothing that h11 might read differently reaches it, and nothing that it might
re-order or lower-case is sent. Chunked bodies pass ``protocol.http_chunked`` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_chunked import ChunkedGate, ChunkLimits
from gateway.protocol.http_head import RequestHead, ResponseHead, write_response_head
from gateway.protocol.http_headers import Field

# h11 moves what is left in its buffer at every event: pieces of 256 KiB cost ten times as much as
# these.
_PIECE: Final = 64 * 1024
_CHUNKED: Final[Field] = (b"Transfer-Encoding", b"chunked")
_CLOSE: Final[Field] = (b"Connection", b"close")
_NO_BODY: Final = (204, 304)  # RFC 9110 section 6.4.1; HEAD and 1xx besides


class _Framing:
    """The receiving half, the same for both roles."""

    __slots__ = ("_gate", "_h11", "_rest", "received_all")

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self._h11 = h11.Connection(role)
        self._gate: ChunkedGate | None = None
        self._rest = b""
        self.received_all = False

    @property
    def trailers(self) -> tuple[Field, ...]:
        """The trailer fields of the body received; complete once ``received_all`` is true."""
        return () if self._gate is None else self._gate.trailers

    @property
    def rest(self) -> bytes:
        """What arrived after the end of the message."""
        return self._rest

    def receive_data(self, data: bytes) -> bytes:
        """Take received bytes; return the body bytes in them. Raises RemoteProtocolError."""
        if self.received_all:
            self._rest += data
            return b""
        if len(data) <= _PIECE:
            return b"".join(self._receive_piece(data))
        body: list[bytes | bytearray] = []
        for at in range(0, len(data), _PIECE):
            body += self._receive_piece(data[at : at + _PIECE])
            if self.received_all:
                self._rest += data[at + _PIECE :]
                break
        return b"".join(body)

    def _receive_piece(self, data: bytes) -> list[bytes | bytearray]:
        if self._gate is not None:
            taken = self._gate.receive_data(data)
            self._rest = data[taken:]
            data = data[:taken]
        if not data:
            return []  # to h11 that would be the end of the stream
        self._h11.receive_data(data)
        body = self._events()
        if self._gate is not None and self._gate.done is not self.received_all:
            raise RemoteProtocolError("malformed body", detail="gate and h11 disagree on its end")
        return body

    def receive_eof(self) -> None:
        """Take the end of the stream, which ends a body without framing.

        Raises RemoteProtocolError if anything is missing.
        """
        if not self.received_all:
            self._h11.receive_data(b"")
            self._events()

    def _events(self) -> list[bytes | bytearray]:
        body: list[bytes | bytearray] = []
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise RemoteProtocolError(
                    "malformed body", detail=str(error), status_hint=error.error_status_hint
                ) from None
            if isinstance(event, h11.Data):
                body.append(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.received_all = True
                self._rest = self._h11.trailing_data[0] or self._rest
                return body
            else:
                return body

    def _begin_receiving(self, head: RequestHead | ResponseHead, raw: bytes) -> None:
        """Show h11 a reduced head: the line ``raw`` and what delimits the body of ``head``."""
        lines = [raw]
        length = head.content_length
        if head.chunked:
            lines.append(b"%s: %s" % _CHUNKED)
            self._gate = ChunkedGate(ChunkLimits())
        elif length is not None:
            lines.append(b"Content-Length: %d" % length)
        if _says_close(head):
            lines.append(b"%s: %s" % _CLOSE)
        self._h11.receive_data(b"\r\n".join([*lines, b"", b""]))
        event = self._h11.next_event()
        assert isinstance(event, h11.Request | h11.Response), event
        # A bodyless message ends here; a body's first bytes are yet to come.
        self._events()

    def _encode(self, data: bytes) -> bytes:
        return self._h11.send(h11.Data(data=data))

    def _encode_end(self, trailers: Iterable[Field]) -> bytes:
        return self._h11.send(h11.EndOfMessage(headers=list(trailers)))


class ServerFraming(_Framing):
    """One request of a client, and our answer."""

    __slots__ = ("_chunked", "_head_only", "_persistent", "_version", "bodyless", "closing")

    def __init__(self, request: RequestHead) -> None:
        super().__init__(h11.SERVER)
        self._version = request.version
        self._head_only = request.method == b"HEAD"
        # HTTP/1.0 keep-alive is an extension that proxies got wrong; h11 does not do it either.
        self._persistent = request.version == b"1.1" and not _says_close(request)
        self._chunked = False
        self.bodyless = False
        self.closing = False
        # The Host that HTTP/1.1 requires is h11's business as little as the target is.
        line = b"%s / HTTP/%s\r\nHost: -" % (request.method, request.version)
        self._begin_receiving(request, line)

    def start_response(
        self,
        status: int,
        reason: bytes,
        fields: Iterable[Field],
        *,
        length: int | None,
        close: bool,
    ) -> bytes:
        """Fix the framing of the answer; return the bytes of its head.

        ``fields`` go out as they are, before ours. ``length`` None: not known, so chunked, or for
        HTTP/1.0 ended by closing; the field of a known length is the caller's. ``close``: the
        connection ends after the answer, whatever the client would like; ``closing`` then says what
        was decided. Raises ValueError, with nothing changed, for fields that would split the head.
        """
        bodyless = self._head_only or status in _NO_BODY
        closing = close or not self._persistent
        chunked = not bodyless and length is None and self._version == b"1.1"
        ours: list[Field] = [_CHUNKED] if chunked else []
        if closing:
            ours.append(_CLOSE)
        head = write_response_head(status, reason, [*fields, *ours])
        if not bodyless and length is not None:
            ours.append((b"Content-Length", b"%d" % length))
        self._h11.send(h11.Response(status_code=status, headers=ours))
        self.bodyless, self.closing, self._chunked = bodyless, closing, chunked
        return head

    def send_data(self, data: bytes) -> bytes:
        """Return the bytes to send for a piece of the answer's body; none for HEAD, 204 and 304."""
        return b"" if self.bodyless else self._encode(data)

    def end_response(self, trailers: Iterable[Field] = ()) -> bytes:
        """Return the bytes that end the answer. Trailers go out where chunks do, else nowhere."""
        return self._encode_end(trailers if self._chunked else ())


def _says_close(head: RequestHead | ResponseHead) -> bool:
    return b"close" in head.headers.elements(b"connection")


class ClientFraming(_Framing):
    """One request of ours to a controller, and its answer."""

    __slots__ = ("_chunked",)

    def __init__(self, request: RequestHead) -> None:
        super().__init__(h11.CLIENT)
        self._chunked = request.chunked
        framing: list[Field] = [(b"Host", b"-")]
        length = request.content_length
        if request.chunked:
            framing.append(_CHUNKED)
        elif length is not None:
            framing.append((b"Content-Length", b"%d" % length))
        self._h11.send(h11.Request(method=request.method, target=b"/", headers=framing))

    def send_data(self, data: bytes) -> bytes:
        """Return the bytes to send for a piece of the request's body."""
        return self._encode(data)

    def end_request(self, trailers: Iterable[Field] = ()) -> bytes:
        """Return the bytes that end the request."""
        return self._encode_end(trailers if self._chunked else ())

    def start_response(self, head: ResponseHead) -> None:
        """Take the final answer's head, from which on ``receive_data`` takes its body."""
        self._begin_receiving(head, b"HTTP/%s %d " % (head.version, head.status))
