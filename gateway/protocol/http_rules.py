"""The rules of the gate, one function each (RFC 9112 sections 2, 3, 5 and 6, RFC 9110 section 5).

Owns: what a field line, a Host, a target and the framing fields must look like to have one meaning
only, and the sentence for each way to break that.

Must not know: how a head is read from bytes (``http_head``), what a gateway does with it.

Every function returns a value or raises RemoteProtocolError; no text of an error repeats anything
that was received, since it may hold a secret. The one exception is the name of a field.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_headers import Field, Headers

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN_ONLY: Final = re.compile(TOKEN)
# Control characters other than HTAB are refused; obs-text stays bytes (RFC 9110 section 5.5). Tyrus
# writes ISO-8859-1 in Node-Name, so it must pass.
_FIELD_LINE: Final = re.compile(rb"%s:[\t\x20-\x7e\x80-\xff]*" % TOKEN)
_FIELD_LINES: Final = re.compile(rb"(?:%s:[\t\x20-\x7e\x80-\xff]*\r\n)*" % TOKEN)
_VERSIONS: Final = (b"1.1", b"1.0")

# Narrower than RFC 3986: percent-encoding and sub-delims in a reg-name would only give one host a
# second spelling. The underscore is for Compose service names.
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?"
)
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}
# Without a sign, without leading zeros (read as octal by some), below 2**63 (wraps around in
# others).
_CONTENT_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_MAX_CONTENT_LENGTH: Final = (1 << 63) - 1
_MAX_NAME: Final = 64  # of a field, to be shown; those of Jenkins and its plugins are shorter


def read_fields(block: bytes, limit: int) -> tuple[Field, ...]:
    """Take field lines apart, each ended by CRLF: those of a head, or a trailer section.

    Raises RemoteProtocolError: 400 for anything malformed, 431 for more than ``limit`` fields.
    """
    lines = block.split(b"\r\n")
    lines.pop()  # the empty remainder after the last CRLF
    if len(lines) > limit:
        raise RemoteProtocolError(f"too many fields: allowed are {limit}", status_hint=431)
    if _FIELD_LINES.fullmatch(block) is None:
        problem = next(line for line in lines if _FIELD_LINE.fullmatch(line) is None)
        raise RemoteProtocolError(_field_problem(problem))
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def describe_largest(block: bytes) -> str:
    """Name the largest of the field lines in ``block``, whose last one may be incomplete.

    For whoever has to find out why a head is too large; nothing, where it is no plain name.
    """
    line = max(block.split(b"\r\n"), key=len)
    name = line.partition(b":")[0]
    if len(name) > _MAX_NAME or TOKEN_ONLY.fullmatch(name) is None:
        return ""
    return f"; the largest field is {name.decode('ascii')} with {len(line)} bytes"


def _field_problem(line: bytes) -> str:
    """Name the rule that a field line breaks, without repeating any of it: it may hold a secret."""
    if line[:1] in {b" ", b"\t"}:
        return "folded field line"
    name, colon, _ = line.partition(b":")
    if b"\n" in line:
        return "bare LF in the head"
    if b"\r" in line:
        return "bare CR in the head"
    if not colon:
        return "field line without a colon"
    if not name:
        return "field without a name"
    if name.rstrip(b" \t") != name:
        return "white space before the colon of a field"
    if not TOKEN_ONLY.fullmatch(name):
        return "malformed field name"
    return "control character in a field"


def check_version(version: bytes) -> None:
    if version not in _VERSIONS:
        raise RemoteProtocolError("only HTTP/1.1 and HTTP/1.0 are spoken here", status_hint=505)


def host_of(headers: Headers, version: bytes) -> bytes | None:
    """Return the value of Host, there exactly once (RFC 9112 section 3.2); HTTP/1.0 may omit it."""
    hosts = headers.get_all(b"host")
    if len(hosts) > 1:
        raise RemoteProtocolError("more than one Host field")
    if not hosts:
        if version == b"1.0":
            return None
        raise RemoteProtocolError("no Host field")
    if not is_authority(hosts[0]):
        raise RemoteProtocolError("malformed Host field")
    return hosts[0]


def is_authority(value: bytes) -> bool:
    """Say whether ``value`` is a host name or address, with or without a port, and nothing else."""
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    if match[2] is not None and not 0 < int(match[2]) <= 0xFFFF:
        return False
    if match[1] is None:
        return True
    try:
        ipaddress.IPv6Address(match[1].decode("ascii"))
    except ValueError:
        return False
    return True


def origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Return the target as it is matched and forwarded (RFC 9112 section 3.2).

    In absolute-form its authority has to be that of Host, which is what goes on: without regard to
    case, and with the scheme's default port written or not (RFC 9110 section 4.2.3). Every other
    difference is refused, user information included.
    """
    if target[:1] == b"/":
        return target
    if target == b"*":
        if method == b"OPTIONS":
            return target
        raise RemoteProtocolError("the target * is for OPTIONS only")
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RemoteProtocolError("malformed request target")
    port = _DEFAULT_PORTS[match[1].lower()]
    if host is None or _authority(match[2], port) != _authority(host, port):
        raise RemoteProtocolError("the request target and Host name different servers")
    rest = match[3]
    if rest[:1] == b"/":
        return rest
    if method == b"OPTIONS" and not rest:
        return b"*"  # RFC 9112 section 3.2.4
    return b"/" + rest


def _authority(text: bytes, default_port: bytes) -> bytes:
    return text.lower().removesuffix(default_port)


def check_framing(headers: Headers, version: bytes) -> None:
    """Refuse every head whose body could be delimited in two ways (RFC 9112 section 6.3)."""
    codings = headers.get_all(b"transfer-encoding")
    lengths = headers.get_all(b"content-length")
    if codings:
        _check_transfer_encoding(codings, version)
        if lengths:
            raise RemoteProtocolError("Content-Length beside Transfer-Encoding")
    elif lengths:
        # Even equal duplicates: RFC 9112 section 6.3 lets a recipient choose between refusing and
        # merging.
        if len(lengths) > 1:
            raise RemoteProtocolError("more than one Content-Length")
        if not _CONTENT_LENGTH.fullmatch(lengths[0]) or int(lengths[0]) > _MAX_CONTENT_LENGTH:
            raise RemoteProtocolError("malformed Content-Length")


def _check_transfer_encoding(codings: list[bytes], version: bytes) -> None:
    if version == b"1.0":
        raise RemoteProtocolError("Transfer-Encoding in HTTP/1.0")
    if len(codings) > 1:
        raise RemoteProtocolError("more than one Transfer-Encoding")
    names = [coding.strip(b" \t").lower() for coding in codings[0].split(b",")]
    if names == [b"chunked"]:
        return
    if not all(TOKEN_ONLY.fullmatch(name) for name in names):
        raise RemoteProtocolError("malformed Transfer-Encoding")
    if b"chunked" in names[:-1]:
        raise RemoteProtocolError("chunked is not the last transfer coding")
    raise RemoteProtocolError("only the chunked transfer coding is implemented", status_hint=501)
