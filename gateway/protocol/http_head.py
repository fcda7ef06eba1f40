"""The gate: HTTP/1.1 message heads, judged from their raw bytes (RFC 9112 sections 2 to 6).

Owns: which heads are believed at all (the rules themselves are in ``http_rules``), and how heads
are written: in the order and the case in which their fields came. A head passes only if every
recipient must read it in the same way. What one server forgives (a bare LF, a folded line, a
second Content-Length) is what requests are smuggled with, so the gate forgives nothing but empty
lines before a request line (RFC 9112 section 2.2) and a status line without a reason (Tomcat and
many others write one).

Must not know: bodies, routes, sockets, what a gateway does with a head.

Whatever the bytes, a reader returns a head, returns None (more is needed), or raises
RemoteProtocolError (status 400, 414, 431, 501 or 505), MethodRefused (405) or NotImplementedHere
(501). Anything else is a bug. A reader is for one head: what arrived after it is in
``trailing_data``.

The work is linear in the bytes, also when they come one by one: every search starts where the last
one ended, and lines are only taken apart when the head is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.errors import MethodRefused, NotImplementedHere, RemoteProtocolError
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.http_rules import (
    TOKEN,
    TOKEN_ONLY,
    check_framing,
    check_version,
    describe_largest,
    host_of,
    origin_form,
    read_fields,
)

_REQUEST_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])" % TOKEN)
# RFC 9112 section 4 wants the space after the code; some servers leave it out with the reason.
_STATUS_LINE: Final = re.compile(
    rb"HTTP/([0-9]\.[0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?"
)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How much of a head is read.

    ``total``: bytes of the whole head (Envoy 60 KiB, nginx 4 x 8 KiB, httpd 100 x 8 KiB, Jetty 8
    KiB). ``line``: bytes of the request or status line (nginx and httpd: 8 KiB). ``fields``: their
    number (Envoy and httpd 100, HAProxy 101). ``empty_lines``: CRLFs before a request.
    """

    total: int = 32 * 1024
    line: int = 8 * 1024
    fields: int = 100
    empty_lines: int = 2


class _Framed:
    """What both kinds of head say about the body that follows; the gate has checked the fields."""

    __slots__ = ()
    headers: Headers

    @property
    def content_length(self) -> int | None:
        """Return the body's length in bytes, or None where the head gives none."""
        value = self.headers.get(b"content-length")
        return None if value is None else int(value)

    @property
    def chunked(self) -> bool:
        """Say whether the body is in chunked transfer coding."""
        return b"transfer-encoding" in self.headers


@dataclass(frozen=True, slots=True, repr=False)
class RequestHead(_Framed):
    """A request line and its fields. ``version`` is ``b"1.1"`` or ``b"1.0"``.

    ``target`` is in origin-form, byte for byte as received (or ``*``): an absolute-form target
    that agreed with Host has lost its scheme and authority, as RFC 9112 section 3.2.2 wants it
    forwarded.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: Headers

    @property
    def path(self) -> bytes:
        """Return the target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def has_body(self) -> bool:
        """Say whether a body follows; a request without framing fields has none."""
        return self.chunked or bool(self.content_length)

    def __repr__(self) -> str:
        # The query may hold a build token.
        return f"<RequestHead {self.method.decode('latin-1')} {self.path.decode('latin-1')}>"


@dataclass(frozen=True, slots=True, repr=False)
class ResponseHead(_Framed):
    """A status line and its fields. ``reason`` is often empty."""

    status: int
    reason: bytes
    version: bytes
    headers: Headers

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


Head = TypeVar("Head", RequestHead, ResponseHead)


class HeadReader(Generic[Head]):
    """Read one head from bytes as they come; see the two subclasses."""

    __slots__ = (
        "_buffer",
        "_empty_lines",
        "_fields_at",
        "_limits",
        "_searched",
        "size",
        "trailing_data",
    )

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._empty_lines = 0
        self._fields_at = 0  # where the field lines begin; 0 until the first line is complete
        self._searched = 0  # no line feed before this that has not been dealt with
        self.trailing_data = b""
        self.size = 0  # bytes of the head, once it is complete

    @property
    def started(self) -> bool:
        """Say whether anything of a head has arrived; empty lines before it do not count."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> Head | None:
        """Take bytes; return the head once it is complete. Raises what the module says."""
        if not self._buffer:
            head = self._read_at_once(data)
            if head is not None:
                return head
        buffer = self._buffer
        buffer += data
        if not self._fields_at and not self._read_first_line():
            return None
        end = buffer.find(b"\r\n\r\n", max(self._fields_at - 2, self._searched - 3))
        if end < 0:
            if len(buffer) > self._limits.total:
                raise self._too_large(len(buffer))
            if _BARE_LF.search(buffer, self._searched):
                raise RemoteProtocolError("bare LF in the head")
            self._searched = len(buffer)
            return None
        if end + 4 > self._limits.total:
            raise self._too_large(end)
        block = bytes(buffer[self._fields_at : end + 2])
        headers = Headers(read_fields(block, self._limits.fields))
        self.trailing_data = bytes(buffer[end + 4 :])
        self.size = end + 4
        return self._finish(headers)

    def _read_at_once(self, data: bytes) -> Head | None:
        """Read a head that is all there, as most are; None leaves everything as it was.

        Only what the long way would take as well, so whatever is wrong is left to that.
        """
        end = data.find(b"\r\n\r\n")
        at = data.find(b"\n", 0, end + 2) - 1
        if at < 1 or at > self._limits.line or end + 4 > self._limits.total or data[at] != 0x0D:
            return None
        self._check_first_byte(data[:2])
        self._take_first_line(data[:at])
        headers = Headers(read_fields(data[at + 2 : end + 2], self._limits.fields))
        self.trailing_data = data[end + 4 :]
        self.size = end + 4
        return self._finish(headers)

    def receive_eof(self) -> None:
        """Take the end of the stream. Raises RemoteProtocolError in the middle of a head."""
        if self.started:
            raise RemoteProtocolError("the connection ended in the middle of a head")

    def _read_first_line(self) -> bool:
        buffer = self._buffer
        while buffer[:2] == b"\r\n":
            self._empty_lines += 1
            if self._empty_lines > self._allowed_empty_lines():
                raise RemoteProtocolError("empty line in front of the message")
            del buffer[:2]
        self._check_first_byte(bytes(buffer[:2]))
        at = buffer.find(b"\n", self._searched)
        # Less the CR: of a line as long as allowed it may come without its LF.
        length = (len(buffer) if at < 0 else at) - 1
        if length > self._limits.line:
            raise RemoteProtocolError(
                f"the first line is too long: allowed are {self._limits.line} bytes",
                status_hint=self._long_line_status,
            )
        if at < 0:
            self._searched = len(buffer)
            return False
        if buffer[at - 1] != 0x0D:
            raise RemoteProtocolError("bare LF in the head")
        self._take_first_line(bytes(buffer[: at - 1]))
        self._fields_at = self._searched = at + 1
        return True

    def _too_large(self, end: int) -> RemoteProtocolError:
        block = bytes(self._buffer[self._fields_at : end])
        return RemoteProtocolError(
            f"the head is too large: allowed are {self._limits.total} bytes"
            + describe_largest(block),
            status_hint=431,
        )

    def _check_first_byte(self, first: bytes) -> None:
        """Refuse at once what can become no head, such as a TLS record on a plain port."""
        if first and first != b"\r" and not TOKEN_ONLY.match(first):
            raise RemoteProtocolError("this is not HTTP/1.1")

    _long_line_status = 400

    def _allowed_empty_lines(self) -> int:
        raise NotImplementedError

    def _take_first_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _finish(self, headers: Headers) -> Head:
        raise NotImplementedError


class RequestHeadReader(HeadReader[RequestHead]):
    """The gate for requests."""

    __slots__ = ("_method", "_target", "_version")
    _long_line_status = 414

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self._method = self._target = self._version = b""

    def _allowed_empty_lines(self) -> int:
        return self._limits.empty_lines

    def _take_first_line(self, line: bytes) -> None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("malformed request line")
        self._method, self._target, self._version = match.groups()
        check_version(self._version)
        if self._method in {b"CONNECT", b"TRACE"}:
            raise MethodRefused(f"{self._method.decode()} is not allowed here")
        if b"#" in self._target:
            raise RemoteProtocolError("fragment in the request target")

    def _finish(self, headers: Headers) -> RequestHead:
        host = host_of(headers, self._version)
        target = origin_form(self._method, self._target, host)
        check_framing(headers, self._version)
        if b"upgrade" in headers and b"h2c" in headers.elements(b"upgrade"):
            raise NotImplementedHere("h2c is not implemented here")
        return RequestHead(self._method, target, self._version, headers)


class ResponseHeadReader(HeadReader[ResponseHead]):
    """The gate for a controller's responses: an ambiguous answer is split as easily."""

    __slots__ = ("_reason", "_status", "_version")

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self._status = 0
        self._version = self._reason = b""

    def _allowed_empty_lines(self) -> int:
        return 0  # only servers may be lenient here: RFC 9112 section 2.2 speaks of request lines

    def _take_first_line(self, line: bytes) -> None:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("malformed status line")
        self._version = match[1]
        self._status = int(match[2])
        self._reason = match[3] or b""
        check_version(self._version)

    def _finish(self, headers: Headers) -> ResponseHead:
        check_framing(headers, self._version)
        return ResponseHead(self._status, self._reason, self._version, headers)


# -- writing ---------------------------------------------------------------------------------------


def write_request_head(head: RequestHead) -> bytes:
    """Return the bytes of a request head: HTTP/1.1 whatever came in, fields in their order and
    case.

    Raises ValueError for CR, LF or NUL in a part of it: a head of ours is never split.
    """
    return _write(b"%s %s HTTP/1.1" % (head.method, head.target), head.headers)


def write_response_head(status: int, reason: bytes, fields: Iterable[Field]) -> bytes:
    """Return the bytes of a response head. Raises ValueError as ``write_request_head`` does."""
    return _write(b"HTTP/1.1 %d %s" % (status, reason), fields)


def write_fields(fields: Iterable[Field]) -> bytes:
    """Return field lines and the empty line after them. Raises ValueError as above."""
    return _write(b"", fields)[2:]


def _write(line: bytes, fields: Iterable[Field]) -> bytes:
    lines = [line]
    lines += [b"%s: %s" % field for field in fields]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    # Every line brings one CR and one LF; any more came from inside a value.
    expected = len(lines) + 1
    if head.count(b"\n") != expected or head.count(b"\r") != expected or b"\0" in head:
        raise ValueError("CR, LF or NUL inside a head")
    return head
