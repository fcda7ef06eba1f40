"""Where bodies end: the framing of one request and its answer, in both directions.

Owns: every use of h11, which decodes chunked bodies. Bodies of known length are counted here, since
that is all there is to them: a request without a body meets no state machine at all, which saves
half of what a small exchange costs. One object serves one request and its answer, in the role of
server (``ServerFraming``) or client (``ClientFraming``). It holds no socket: received bytes go in,
body bytes come out; body bytes go in, bytes to send come out.

Must not know: fields, other than those that delimit a body. h11 never sees a real head, in either
direction: the gate has judged it. So nothing that h11 might read differently reaches it, and
nothing that it might re-order or lower-case is sent. Chunked bodies pass ``protocol.http_chunked``
first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import h11

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_chunked import ChunkedGate, ChunkLimits
from gateway.protocol.http_head import (
    RequestHead,
    ResponseHead,
    write_fields,
    write_response_head,
)
from gateway.protocol.http_headers import Field

# h11 moves what is left in its buffer at every event: pieces of 256 KiB cost ten times as much as
# these.
_PIECE: Final = 64 * 1024
_CHUNKED: Final[Field] = (b"Transfer-Encoding", b"chunked")
_CLOSE: Final[Field] = (b"Connection", b"close")
_NO_BODY: Final = (204, 304)  # RFC 9110 section 6.4.1; HEAD and 1xx besides
_CHUNKED_HEAD: Final = b"POST / HTTP/1.1\r\nHost: -\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Decoder:
    """A chunked body: h11 behind the gate."""

    __slots__ = ("_gate", "_h11", "done", "rest")

    def __init__(self) -> None:
        self._gate = ChunkedGate(ChunkLimits())
        self._h11 = h11.Connection(h11.SERVER)
        self._h11.receive_data(_CHUNKED_HEAD)
        self._h11.next_event()
        self.done = False
        self.rest = b""  # what came after the body

    @property
    def trailers(self) -> tuple[Field, ...]:
        return self._gate.trailers

    def receive_data(self, data: bytes) -> bytes:
        if len(data) <= _PIECE:
            return b"".join(self._receive_piece(data))
        body: list[bytes | bytearray] = []
        for at in range(0, len(data), _PIECE):
            body += self._receive_piece(data[at : at + _PIECE])
            if self.done:
                self.rest += data[at + _PIECE :]
                break
        return b"".join(body)

    def _receive_piece(self, data: bytes) -> list[bytes | bytearray]:
        taken = self._gate.receive_data(data)
        self.rest = data[taken:]
        if not taken:
            return []  # to h11 that would be the end of the stream
        self._h11.receive_data(data[:taken])
        body: list[bytes | bytearray] = []
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise RemoteProtocolError(
                    "malformed body", detail=str(error), status_hint=error.error_status_hint
                ) from None
            if not isinstance(event, h11.Data):
                break
            body.append(event.data)
        self.done = isinstance(event, h11.EndOfMessage)
        if self._gate.done is not self.done:
            raise RemoteProtocolError("malformed body", detail="gate and h11 disagree on its end")
        return body


class _Framing:
    """The receiving half, and the sending of bodies: the same for both roles."""

    __slots__ = ("_awaited", "_decoder", "_owed", "_rest", "_sends_chunks", "received_all")

    def __init__(self) -> None:
        self._decoder: _Decoder | None = None
        self._awaited: int | None = 0  # bytes to come; None: until the stream ends
        self._owed: int | None = 0  # bytes to send; None: until we say so
        self._sends_chunks = False
        self._rest = b""
        self.received_all = False

    @property
    def trailers(self) -> tuple[Field, ...]:
        """The trailer fields of the body received; complete once ``received_all`` is true."""
        return () if self._decoder is None else self._decoder.trailers

    @property
    def rest(self) -> bytes:
        """What arrived after the end of the message."""
        return self._rest

    def receive_data(self, data: bytes) -> bytes:
        """Take received bytes; return the body bytes in them. Raises RemoteProtocolError."""
        if self.received_all:
            self._rest += data
            return b""
        decoder = self._decoder
        if decoder is not None:
            body = decoder.receive_data(data)
            self.received_all = decoder.done
            self._rest = decoder.rest
            return body
        awaited = self._awaited
        if awaited is None:
            return data
        if len(data) < awaited:
            self._awaited = awaited - len(data)
            return data
        self.received_all = True
        if len(data) == awaited:
            return data
        self._rest = data[awaited:]
        return data[:awaited]

    def receive_eof(self) -> None:
        """Take the end of the stream, which ends a body without framing.

        Raises RemoteProtocolError if anything is missing.
        """
        if self.received_all:
            return
        if self._decoder is not None or self._awaited is not None:
            raise RemoteProtocolError("malformed body", detail="it ended too early")
        self.received_all = True

    def _begin_receiving(self, *, chunked: bool, length: int | None) -> None:
        """Say how the body is delimited: chunks, a length, or else the end of the stream."""
        if chunked:
            self._decoder = _Decoder()
        else:
            self._awaited = length
            self.received_all = length == 0

    def _encode(self, data: bytes) -> bytes:
        if self._sends_chunks:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self._owed is not None:
            self._owed -= len(data)
            if self._owed < 0:
                raise RuntimeError("more body than was announced")
        return data

    def _encode_end(self, trailers: Iterable[Field]) -> bytes:
        if self._sends_chunks:
            return b"0\r\n" + write_fields(trailers)
        if self._owed:
            raise RuntimeError("less body than was announced")
        return b""


class ServerFraming(_Framing):
    """One request of a client, and our answer."""

    __slots__ = ("_head_only", "_persistent", "_version", "bodyless", "closing")

    def __init__(self, request: RequestHead) -> None:
        super().__init__()
        self._version = request.version
        self._head_only = request.method == b"HEAD"
        # HTTP/1.0 keep-alive is an extension that proxies got wrong.
        self._persistent = request.version == b"1.1" and not says_close(request)
        self.bodyless = False
        self.closing = False
        self._begin_receiving(chunked=request.chunked, length=request.content_length or 0)

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
        delimited = bodyless or length is not None or self._version == b"1.1"
        closing = close or not self._persistent or not delimited
        chunked = not bodyless and length is None and self._version == b"1.1"
        ours: list[Field] = [_CHUNKED] if chunked else []
        if closing:
            ours.append(_CLOSE)
        head = write_response_head(status, reason, [*fields, *ours])
        self._owed = None if bodyless else length
        self.bodyless, self.closing, self._sends_chunks = bodyless, closing, chunked
        return head

    def send_data(self, data: bytes) -> bytes:
        """Return the bytes to send for a piece of the answer's body; none for HEAD, 204 and 304."""
        return b"" if self.bodyless else self._encode(data)

    def end_response(self, trailers: Iterable[Field] = ()) -> bytes:
        """Return the bytes that end the answer. Trailers go out where chunks do, else nowhere."""
        return self._encode_end(trailers)


def says_close(head: RequestHead | ResponseHead) -> bool:
    """Say whether the sender of ``head`` wants the connection to end after this exchange."""
    return b"close" in head.headers.elements(b"connection")


class ClientFraming(_Framing):
    """One request of ours to a controller, and its answer."""

    __slots__ = ("_head_only", "persistent", "sent_all")

    def __init__(self, request: RequestHead) -> None:
        super().__init__()
        self._head_only = request.method == b"HEAD"
        self._sends_chunks = request.chunked
        self._owed = request.content_length or 0
        self.sent_all = False
        # As far as request and answer say so; meaningful once the answer's head is in.
        self.persistent = not says_close(request)

    def send_data(self, data: bytes) -> bytes:
        """Return the bytes to send for a piece of the request's body."""
        return self._encode(data)

    def end_request(self, trailers: Iterable[Field] = ()) -> bytes:
        """Return the bytes that end the request."""
        end = self._encode_end(trailers)
        self.sent_all = True
        return end

    def start_response(self, head: ResponseHead) -> None:
        """Take the final answer's head, from which on ``receive_data`` takes its body."""
        if self._head_only or head.status in _NO_BODY:
            self._begin_receiving(chunked=False, length=0)
        else:
            self._begin_receiving(chunked=head.chunked, length=head.content_length)
        delimited = self._decoder is not None or self._awaited is not None
        # RFC 9112 section 9.3; HTTP/1.0 keep-alive is an extension that proxies got wrong.
        self.persistent &= delimited and head.version == b"1.1" and not says_close(head)
