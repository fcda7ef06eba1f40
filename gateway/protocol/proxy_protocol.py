"""The PROXY protocol: what a balancer says about a connection before the connection's first byte.

Owns: reading version 1 (a line) and version 2 (binary), and writing version 2
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2).

Must not know: who may be believed, deadlines, what follows the header.

Strict where leniency could turn one address into another: one space between words, no leading
zeros, no zones. TLVs are passed over, their checksum included: whoever could change them could
change the addresses too.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Final

from gateway.errors import RemoteProtocolError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
# The longest line that the specification allows, its CRLF included.
MAX_LINE: Final = 107
# Addresses and TLVs behind the 16 fixed bytes; nginx takes 4096 in all
# (NGX_PROXY_PROTOCOL_MAX_HEADER).
MAX_BLOCK: Final = 4096 - 16

_WORD: Final = b"PROXY "
_LINE: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n"
)
_UNKNOWN_LINE: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_FIXED: Final = struct.Struct("!12sBBH")
_IPV4: Final = struct.Struct("!4s4sHH")
_IPV6: Final = struct.Struct("!16s16sHH")
_UNIX_LENGTH: Final = 216
_MAX_PORT: Final = 65535
# Version and command.
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
# Address family and transport.
_UNSPECIFIED: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNIX: Final = 0x31


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address as text (IPv4 also where it was written as IPv6) and a TCP port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What was said. ``local``: the balancer speaks for itself, such as with a health check.

    ``source`` and ``destination`` are None where that is so, where the balancer does not know them
    (UNKNOWN), and where the client came over a Unix socket.
    """

    source: Endpoint | None = None
    destination: Endpoint | None = None
    local: bool = False


class ProxyHeaderReader:
    """Reads one header, of either version, from the start of a connection."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def trailing_data(self) -> bytes:
        """What came after the header; the connection itself begins with it."""
        return self._buffer

    def receive_data(self, data: bytes) -> ProxyHeader | None:
        """Take bytes in; return the header once it is complete.

        Raises RemoteProtocolError as soon as it cannot become one. Holds at most 4096 bytes and the
        last piece.
        """
        self._buffer += data
        start = self._buffer[: len(SIGNATURE)]
        if start == SIGNATURE:
            return self._read_binary()
        if SIGNATURE.startswith(start):
            return None
        if self._buffer.startswith(_WORD):
            return self._read_line()
        if _WORD.startswith(self._buffer):
            return None
        raise RemoteProtocolError("the connection does not begin with a PROXY header")

    def _read_line(self) -> ProxyHeader | None:
        end = self._buffer.find(b"\n", 0, MAX_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_LINE:
                raise RemoteProtocolError("the PROXY line does not end")
            return None
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        if _UNKNOWN_LINE.fullmatch(line):
            return ProxyHeader()
        match = _LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("malformed PROXY line")
        version = 4 if match[1] == b"TCP4" else 6
        return ProxyHeader(
            _endpoint_of_text(match[2], match[4], version),
            _endpoint_of_text(match[3], match[5], version),
        )

    def _read_binary(self) -> ProxyHeader | None:
        if len(self._buffer) < _FIXED.size:
            return None
        _, command, family, length = _FIXED.unpack_from(self._buffer)
        if command not in {_LOCAL, _PROXY}:
            raise RemoteProtocolError("unknown version or command in a PROXY header")
        if length > MAX_BLOCK:
            raise RemoteProtocolError("the PROXY header is too long")
        end = _FIXED.size + length
        if len(self._buffer) < end:
            return None
        block, self._buffer = self._buffer[_FIXED.size : end], self._buffer[end:]
        if command == _LOCAL:
            return ProxyHeader(local=True)  # whatever the block says, it is to be ignored
        return _read_block(family, block)


def _read_block(family: int, block: bytes) -> ProxyHeader:
    if family == _UNSPECIFIED:
        return ProxyHeader()
    if family == _UNIX and len(block) >= _UNIX_LENGTH:
        return ProxyHeader()
    layout = {_TCP4: _IPV4, _TCP6: _IPV6}.get(family)
    if layout is None or len(block) < layout.size:
        raise RemoteProtocolError("unknown or incomplete addresses in a PROXY header")
    source, destination, source_port, destination_port = layout.unpack_from(block)
    return ProxyHeader(
        Endpoint(_text(ipaddress.ip_address(source)), source_port),
        Endpoint(_text(ipaddress.ip_address(destination)), destination_port),
    )


def _endpoint_of_text(host: bytes, port: bytes, version: int) -> Endpoint:
    try:
        address = ipaddress.ip_address(host.decode("ascii"))
    except ValueError:
        raise RemoteProtocolError("malformed address in a PROXY line") from None
    if address.version != version or int(port) > _MAX_PORT:
        raise RemoteProtocolError("malformed address in a PROXY line")
    return Endpoint(_text(address), int(port))


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Write an address so that networks of its own family match it."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def write_proxy_header(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Return a version 2 header for a client's connection; None: an address that is not known.

    Addresses of different families are both written as IPv6, as HAProxy does.
    """
    if source is None or destination is None:
        return _FIXED.pack(SIGNATURE, _PROXY, _UNSPECIFIED, 0)
    ends = [ipaddress.ip_address(end.host.partition("%")[0]) for end in (source, destination)]
    family, layout = _TCP4, _IPV4
    if any(end.version == 6 for end in ends):
        family, layout = _TCP6, _IPV6
        ends = [end if end.version == 6 else ipaddress.ip_address(f"::ffff:{end}") for end in ends]
    block = layout.pack(ends[0].packed, ends[1].packed, source.port, destination.port)
    return _FIXED.pack(SIGNATURE, _PROXY, family, len(block)) + block


def write_local_header() -> bytes:
    """Return a version 2 header for a connection that the gateway makes for itself."""
    return _FIXED.pack(SIGNATURE, _LOCAL, _UNSPECIFIED, 0)
