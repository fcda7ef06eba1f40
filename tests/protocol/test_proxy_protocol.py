"""Tests of ``gateway.protocol.proxy_protocol``: one value or one error, however it arrives."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.proxy_protocol import (
    MAX_BLOCK,
    MAX_LINE,
    SIGNATURE,
    Endpoint,
    ProxyHeader,
    ProxyHeaderReader,
    write_local_header,
    write_proxy_header,
)
from tests.feeding import fail_all_ways, feed_all_ways

V4 = ProxyHeader(Endpoint("192.0.2.7", 51000), Endpoint("198.51.100.1", 443))
V6 = ProxyHeader(Endpoint("2001:db8::7", 51000), Endpoint("2001:db8::1", 443))
NOTHING = ProxyHeader()
V4_BLOCK = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 51000, 443)
V6_BLOCK = (
    ipaddress.ip_address("2001:db8::7").packed
    + ipaddress.ip_address("2001:db8::1").packed
    + struct.pack("!HH", 51000, 443)
)


def parse(pieces: Iterable[bytes]) -> tuple[ProxyHeader, bytes]:
    reader = ProxyHeaderReader()
    rest = b""
    header: ProxyHeader | None = None
    for piece in pieces:
        if header is not None:
            rest += piece
            continue
        header = reader.receive_data(piece)
        if header is not None:
            rest = reader.trailing_data
    assert header is not None, "incomplete"
    return header, rest


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n", V4),
        (b"PROXY TCP6 2001:db8::7 2001:DB8::1 51000 443\r\n", V6),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 51000 443\r\n",
            V4,
        ),
        (
            b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            ProxyHeader(Endpoint("255.255.255.255", 65535), Endpoint("0.0.0.0", 0)),
        ),
        (b"PROXY UNKNOWN\r\n", NOTHING),
        (b"PROXY UNKNOWN ffff:f::1 whatever 65535 65535\r\n", NOTHING),
        (v2(0x21, 0x11, V4_BLOCK), V4),
        (v2(0x21, 0x21, V6_BLOCK), V6),
        (v2(0x21, 0x11, V4_BLOCK + tlv(3, b"\0\1\2\3") + tlv(4, b"\0" * 300)), V4),
        (v2(0x21, 0x21, V6_BLOCK + b"\x20\xff\xff"), V6),
        (v2(0x21, 0x31, b"/tmp/a".ljust(108, b"\0") + b"/tmp/b".ljust(108, b"\0")), NOTHING),
        (v2(0x21, 0x00, b""), NOTHING),
        (v2(0x21, 0x00, b"anything"), NOTHING),
        (v2(0x20, 0x00, b""), ProxyHeader(local=True)),
        (v2(0x20, 0x11, V4_BLOCK), ProxyHeader(local=True)),
        (v2(0x20, 0xFF, b"x"), ProxyHeader(local=True)),
        (v2(0x21, 0x11, V4_BLOCK.ljust(MAX_BLOCK, b"\0")), V4),
    ],
)
def test_headers(data: bytes, header: ProxyHeader) -> None:
    assert feed_all_ways(data, parse) == header


def test_the_longest_line() -> None:
    line = b"PROXY UNKNOWN ".ljust(MAX_LINE - 2, b"x") + b"\r\n"
    assert feed_all_ways(line, parse) == NOTHING
    assert fail_all_ways(b"PROXY UNKNOWN ".ljust(MAX_LINE - 1, b"x") + b"\r\n", parse) is (
        RemoteProtocolError
    )


def test_an_ipv4_client_cannot_hide_in_ipv6() -> None:
    block = ipaddress.ip_address("::ffff:10.0.0.1").packed * 2 + struct.pack("!HH", 1, 2)
    header, _ = parse([v2(0x21, 0x21, block)])
    assert header.source == Endpoint("10.0.0.1", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXYTCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.1 51000 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 \r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51000\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 051000 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 51000 443\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 51000 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 51000 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::1 51000 443\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 51000 443\r\n",
        b"PROXY UNKNOWNx\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY " + b"x" * 200,
        b"\r\n\r\n\0\r\nQUIT\r",
        v2(0x11, 0x11, V4_BLOCK),
        v2(0x22, 0x11, V4_BLOCK),
        v2(0x31, 0x11, V4_BLOCK),
        v2(0x21, 0x12, V4_BLOCK),
        v2(0x21, 0x10, V4_BLOCK),
        v2(0x21, 0x41, V4_BLOCK),
        v2(0x21, 0x11, V4_BLOCK[:-1]),
        v2(0x21, 0x21, V6_BLOCK[:-1]),
        v2(0x21, 0x31, b"x" * 215),
        v2(0x21, 0x11, V4_BLOCK, length=MAX_BLOCK + 1),
        v2(0x21, 0x11, V4_BLOCK, length=0xFFFF),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    assert fail_all_ways(data, parse) is RemoteProtocolError


@pytest.mark.parametrize("data", [b"GET", b"\x16", b"PROXYx", b"PX", b"\r\nx"])
def test_what_cannot_become_one_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ProxyHeaderReader().receive_data(data)


@given(st.lists(st.binary(max_size=40) | st.sampled_from([SIGNATURE, b"PROXY TCP4 ", b"\r\n"])))
def test_any_bytes_give_a_value_or_one_error(pieces: list[bytes]) -> None:
    reader = ProxyHeaderReader()
    fed = b""
    for piece in pieces:
        fed += piece
        try:
            header = reader.receive_data(piece)
        except RemoteProtocolError:
            return
        if header is not None:
            assert fed.endswith(reader.trailing_data)
            return
    assert len(reader.trailing_data) <= 16 + MAX_BLOCK + 40


@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255), st.data())
def test_any_binary_header_gives_a_value_or_one_error(
    block: bytes, command: int, family: int, data: st.DataObject
) -> None:
    whole = v2(command, family, block)
    cut = data.draw(st.integers(0, len(whole)))
    results = []
    for pieces in ([whole], [whole[:cut], whole[cut:]]):
        try:
            results.append(parse(pieces))
        except RemoteProtocolError:
            results.append((NOTHING, b"refused"))
    assert results[0] == results[1]


ADDRESSES = st.ip_addresses().map(str)
ENDPOINTS = st.builds(Endpoint, ADDRESSES, st.integers(0, 65535))


@given(ENDPOINTS, ENDPOINTS)
def test_what_is_written_can_be_read(source: Endpoint, destination: Endpoint) -> None:
    header, rest = parse([write_proxy_header(source, destination) + b"rest"])
    assert rest == b"rest"
    assert header.local is False
    for read, written in ((header.source, source), (header.destination, destination)):
        assert read is not None
        assert read.port == written.port
        address = ipaddress.ip_address(written.host)
        mapped = getattr(address, "ipv4_mapped", None)
        assert ipaddress.ip_address(read.host) == (mapped or address)


def test_a_client_that_is_not_known_is_written_as_such() -> None:
    known = Endpoint("192.0.2.7", 1)
    for header in (write_proxy_header(None, known), write_proxy_header(known, None)):
        assert header == v2(0x21, 0x00, b"")


def test_the_gateways_own_connections_are_local() -> None:
    assert write_local_header() == v2(0x20, 0x00, b"")


def test_the_bytes_of_the_specification() -> None:
    assert V4.source is not None
    assert write_proxy_header(V4.source, V4.destination) == v2(0x21, 0x11, V4_BLOCK)
    assert V6.source is not None
    assert write_proxy_header(V6.source, V6.destination) == v2(0x21, 0x21, V6_BLOCK)
