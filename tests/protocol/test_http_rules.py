"""The rules of the gate, one by one; ``malformed_heads`` holds what whole heads must not be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.http_rules import (
    check_framing,
    check_version,
    host_of,
    is_authority,
    origin_form,
    read_fields,
)


@contextmanager
def refusal(status: int = 400) -> Iterator[None]:
    with pytest.raises(RemoteProtocolError) as raised:
        yield
    assert raised.value.status_hint == status


def test_field_lines() -> None:
    assert read_fields(b"A: 1\r\nb:2 \t\r\nc:\r\n", 3) == ((b"A", b"1"), (b"b", b"2"), (b"c", b""))
    assert read_fields(b"", 0) == ()
    with refusal(431):
        read_fields(b"A: 1\r\nb:2\r\n", 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b" b", "folded"),
        (b"\tb: c", "folded"),
        (b"b\nc: d", "bare LF"),
        (b"b: c\rd", "bare CR"),
        (b"b", "without a colon"),
        (b"", "without a colon"),
        (b": c", "without a name"),
        (b"b : c", "white space"),
        (b"b@: c", "malformed field name"),
        (b"b: \x00", "control character"),
    ],
)
def test_what_is_wrong_with_a_field_line_is_said(line: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        read_fields(b"A: 1\r\n" + line + b"\r\n", 5)


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_are_not_spoken(version: bytes) -> None:
    with refusal(505):
        check_version(version)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"a", True),
        (b"A-1.b_c~d", True),
        (b"a.", True),
        (b"a:1", True),
        (b"a:65535", True),
        (b"a:65536", False),
        (b"a:0", False),
        (b"a:", False),
        (b":1", False),
        (b"", False),
        (b"[::1]", True),
        (b"[2001:db8::7]:8443", True),
        (b"[::ffff:10.0.0.1]", True),
        (b"[::1", False),
        (b"[1:2]", False),
        (b"[...]", False),
        (b"[]", False),
        (b"::1", False),
        (b"u@a", False),
        (b"a,b", False),
        (b"a b", False),
        (b"a/", False),
        (b"a" * 255, True),
        (b"a" * 256, False),
    ],
)
def test_authorities(value: bytes, *, accepted: bool) -> None:
    assert is_authority(value) is accepted


@given(st.binary(max_size=12) | st.text("[]:.0123456789afgz@%,", max_size=12).map(str.encode))
def test_any_bytes_are_an_authority_or_not(value: bytes) -> None:
    if is_authority(value):
        assert value.isascii()
        assert not set(value) & set(b" @,/?#%\\")


def test_host_is_there_once_or_in_http_1_0_not_at_all() -> None:
    assert host_of(Headers([(b"hOST", b"a:1")]), b"1.1") == b"a:1"
    assert host_of(Headers(), b"1.0") is None
    for fields, version in (
        ([], b"1.1"),
        ([(b"Host", b"a"), (b"host", b"a")], b"1.0"),
        ([(b"Host", b"")], b"1.0"),
    ):
        with refusal():
            host_of(Headers(fields), version)


@pytest.mark.parametrize(
    ("method", "target", "host", "expected"),
    [
        (b"GET", b"/x?y", b"a", b"/x?y"),
        (b"GET", b"//a/x", b"a", b"//a/x"),
        (b"OPTIONS", b"*", None, b"*"),
        (b"GET", b"http://a/x", b"A", b"/x"),
        (b"GET", b"hTTps://a", b"a", b"/"),
        (b"GET", b"http://a?x", b"a", b"/?x"),
        (b"GET", b"http://a:80/x", b"a", b"/x"),
        (b"GET", b"http://a/x", b"A:80", b"/x"),
        (b"GET", b"https://a:443/x", b"a", b"/x"),
        (b"GET", b"HTTPS://a/x", b"a:443", b"/x"),
        (b"GET", b"http://a:443/x", b"a:443", b"/x"),
        (b"GET", b"http://[::80]:80/x", b"[::80]", b"/x"),
        (b"OPTIONS", b"http://a", b"a", b"*"),
        (b"OPTIONS", b"http://a/", b"a", b"/"),
    ],
)
def test_targets(method: bytes, target: bytes, host: bytes | None, expected: bytes) -> None:
    assert origin_form(method, target, host) == expected


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        (b"GET", b"*", b"a"),
        (b"GET", b"x", b"a"),
        (b"GET", b"a:80", b"a:80"),
        (b"GET", b"http://b/", b"a"),
        (b"GET", b"http://a:443/", b"a"),
        (b"GET", b"https://a:80/", b"a"),
        (b"GET", b"https://a:80/", b"a:443"),
        (b"GET", b"http://a:080/", b"a"),
        (b"GET", b"http://a:/", b"a"),
        (b"GET", b"http://a:80:80/", b"a:80"),
        (b"GET", b"http://a:8080/", b"a:80"),
        (b"GET", b"http://a:80@b/", b"a"),
        (b"GET", b"http://[::80]/", b"[:"),
        (b"GET", b"http://a/", None),
        (b"GET", b"ws://a/", b"a"),
    ],
)
def test_targets_that_mean_nothing_certain(
    method: bytes, target: bytes, host: bytes | None
) -> None:
    with refusal():
        origin_form(method, target, host)


CHUNKED = (b"Transfer-Encoding", b"chunked")


@pytest.mark.parametrize(
    "fields",
    [[], [(b"Content-Length", b"0")], [(b"Content-Length", b"17")], [CHUNKED]],
)
def test_framing_that_is_certain(fields: list[Field]) -> None:
    check_framing(Headers(fields), b"1.1")


@pytest.mark.parametrize(
    ("fields", "version", "status"),
    [
        ([CHUNKED, (b"Content-Length", b"17")], b"1.1", 400),
        ([CHUNKED, CHUNKED], b"1.1", 400),
        ([CHUNKED], b"1.0", 400),
        ([(b"Transfer-Encoding", b"gzip")], b"1.1", 501),
        ([(b"Transfer-Encoding", b"chunked, gzip")], b"1.1", 400),
        ([(b"Transfer-Encoding", b"")], b"1.1", 400),
        ([(b"Content-Length", b"017")], b"1.1", 400),
        ([(b"Content-Length", b"9223372036854775808")], b"1.1", 400),
        ([(b"Content-Length", b"1"), (b"content-length", b"1")], b"1.0", 400),
    ],
)
def test_framing_that_is_not(fields: list[Field], version: bytes, status: int) -> None:
    with refusal(status):
        check_framing(Headers(fields), version)
