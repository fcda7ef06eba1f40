"""The gate: what passes and with what meaning, what is refused, and how heads are written."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import (
    MethodRefused,
    NotImplementedHere,
    RemoteProtocolError,
    outcome_of,
)
from gateway.protocol.http_head import (
    HeadLimits,
    RequestHead,
    RequestHeadReader,
    ResponseHead,
    ResponseHeadReader,
    write_fields,
    write_request_head,
    write_response_head,
)
from gateway.protocol.http_headers import Headers
from tests.feeding import feed_all_ways
from tests.protocol.malformed_heads import MALFORMED, Malformed

VECTORS = Path(__file__).parent.parent / "vectors"
LIMITS = HeadLimits()
REFUSALS = (RemoteProtocolError, MethodRefused, NotImplementedHere)


def read_request(
    pieces: Iterable[bytes], limits: HeadLimits = LIMITS
) -> tuple[RequestHead | None, bytes]:
    reader = RequestHeadReader(limits)
    head = None
    rest = b""
    for piece in pieces:
        if head is None:
            head = reader.receive_data(piece)
        else:
            rest += piece
    return head, reader.trailing_data + rest


def read_response(
    pieces: Iterable[bytes], limits: HeadLimits = LIMITS
) -> tuple[ResponseHead | None, bytes]:
    reader = ResponseHeadReader(limits)
    head = None
    rest = b""
    for piece in pieces:
        if head is None:
            head = reader.receive_data(piece)
        else:
            rest += piece
    return head, reader.trailing_data + rest


def request(data: bytes) -> RequestHead:
    head = feed_all_ways(data, read_request)
    assert head is not None
    return head


def response(data: bytes) -> ResponseHead:
    head = feed_all_ways(data, read_response)
    assert head is not None
    return head


# -- requests that pass ----------------------------------------------------------------------------


def test_a_request_is_taken_apart_and_nothing_is_changed() -> None:
    head = request(
        b"POST /a/%2F//b;c?d=e&[f] HTTP/1.1\r\nhOsT: a.example:8080\r\nX-Empty:\r\n"
        b"X-Tab:\t a\tb \t\r\nContent-Length: 5\r\nX-Empty: again\r\n\r\n"
    )
    assert head.method == b"POST"
    assert head.target == b"/a/%2F//b;c?d=e&[f]"
    assert head.path == b"/a/%2F//b;c"
    assert head.version == b"1.1"
    assert list(head.headers) == [
        (b"hOsT", b"a.example:8080"),
        (b"X-Empty", b""),
        (b"X-Tab", b"a\tb"),
        (b"Content-Length", b"5"),
        (b"X-Empty", b"again"),
    ]
    assert head.content_length == 5
    assert head.has_body
    assert not head.chunked


def test_what_was_read_is_written_in_the_same_order_and_case() -> None:
    data = (
        b"GET /x?y HTTP/1.1\r\nuser-AGENT: a\r\nHost: a\r\nx: 1\r\nX: 2\r\nx: \xfc\r\n"
        b"Accept:  \t\r\n\r\n"
    )
    head = request(data)
    assert write_request_head(head) == data.replace(b"Accept:  \t\r\n", b"Accept: \r\n")


def test_an_http_1_0_request_may_lack_host() -> None:
    head = request(b"GET / HTTP/1.0\r\n\r\n")
    assert head.version == b"1.0"
    assert len(head.headers) == 0
    assert not head.has_body


def test_chunked_is_found_in_any_case() -> None:
    head = request(b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n")
    assert head.chunked
    assert head.has_body
    assert head.content_length is None


def test_a_length_of_zero_is_no_body() -> None:
    head = request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert not head.has_body
    assert head.content_length == 0


def test_the_greatest_length_passes() -> None:
    head = request(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n")
    assert head.content_length == (1 << 63) - 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_empty_lines_before_a_request_are_passed_over(count: int) -> None:
    head, rest = read_request([b"\r\n" * count + b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"])
    assert head is not None
    assert rest == b"rest"


def test_empty_lines_byte_by_byte_do_not_start_a_head() -> None:
    reader = RequestHeadReader(LIMITS)
    for byte in (b"\r", b"\n", b"\r", b"\n"):
        assert reader.receive_data(byte) is None
    assert not reader.started
    reader.receive_eof()  # nothing was lost
    assert reader.receive_data(b"G") is None
    assert reader.started
    with pytest.raises(RemoteProtocolError):
        reader.receive_eof()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://a.example:8080/x?y", b"/x?y"),
        (b"HTTPS://A.EXAMPLE:8080/", b"/"),
        (b"http://a.example:8080", b"/"),
        (b"http://a.example:8080?y", b"/?y"),
        (b"http://a.example:8080//x", b"//x"),
    ],
)
def test_absolute_form_becomes_origin_form_where_host_agrees(
    target: bytes, expected: bytes
) -> None:
    head = request(b"GET %s HTTP/1.1\r\nHost: a.example:8080\r\n\r\n" % target)
    assert head.target == expected


@pytest.mark.parametrize("target", [b"*", b"http://a"])
def test_options_for_the_whole_server(target: bytes) -> None:
    assert request(b"OPTIONS %s HTTP/1.1\r\nHost: a\r\n\r\n" % target).target == b"*"


@pytest.mark.parametrize(
    "host",
    [b"a", b"A.Example", b"a_b", b"a.", b"127.0.0.1", b"a:1", b"a:65535", b"[::1]", b"[::1]:80"],
)
def test_hosts_that_pass(host: bytes) -> None:
    assert request(b"GET / HTTP/1.1\r\nHost:%s\r\n\r\n" % host).headers.get(b"host") == host


def test_a_head_of_exactly_the_limits_passes_and_one_byte_more_does_not() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
    exact = HeadLimits(total=len(data), line=len(b"GET / HTTP/1.1"), fields=2)
    assert read_request([data + b"body"], exact)[0] is not None
    for limits, status in [
        (HeadLimits(total=len(data) - 1), 431),
        (HeadLimits(line=len(b"GET / HTTP/1.1") - 1), 414),
        (HeadLimits(fields=1), 431),
    ]:
        for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
            with pytest.raises(RemoteProtocolError) as raised:
                read_request(pieces, limits)
            assert raised.value.status_hint == status


def test_a_request_line_that_is_wrong_is_refused_before_the_head_is_complete() -> None:
    with pytest.raises(RemoteProtocolError):
        RequestHeadReader(LIMITS).receive_data(b"nonsense\r\n")
    with pytest.raises(RemoteProtocolError):
        RequestHeadReader(LIMITS).receive_data(b"\x16")
    with pytest.raises(RemoteProtocolError):
        RequestHeadReader(LIMITS).receive_data(b"GET / HTTP/1.1\r\nHost: a\n")


# -- requests that do not pass ---------------------------------------------------------------------


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: f"{case.name} ({case.origin})")
def test_malformed_heads_are_refused(case: Malformed) -> None:
    for pieces in (
        [case.head],
        [case.head[i : i + 1] for i in range(len(case.head))],
        [case.head + b"5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"],
    ):
        with pytest.raises(REFUSALS) as raised:
            read_request(pieces)
        assert outcome_of(raised.value).status in case.statuses


def test_the_table_is_large_and_names_each_case_once() -> None:
    assert len(MALFORMED) >= 150
    heads = [case.head for case in MALFORMED]
    assert len(set(heads)) == len(heads)


def test_every_entry_of_the_table_is_refused_for_its_own_sake() -> None:
    """The frame that the table's helpers put around a field is well-formed."""
    for field in (b"", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Upgrade: websocket"):
        data = b"POST / HTTP/1.1\r\nHost: a\r\n" + (field + b"\r\n" if field else b"") + b"\r\n"
        assert write_request_head(request(data)) == data


def test_a_refusal_repeats_nothing_of_the_head() -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        read_request([b"GET / HTTP/1.1\r\nHost: a\r\nSecret-Key: 0123\x01456\r\n\r\n"])
    assert "0123" not in str(raised.value)


# -- real agents -----------------------------------------------------------------------------------


def _recorded() -> list[tuple[str, bytes, bytes]]:
    found = []
    for name in ("ws-reject", "ws-unknown-node", "ws-wrong-secret"):
        document = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
        for number, connection in enumerate(document["connections"]):
            heads = [
                "\r\n".join([*connection[side], "", ""]).encode("latin-1")
                for side in ("request", "response")
            ]
            found.append((f"{name} {number}", heads[0], heads[1]))
    return found


@pytest.mark.parametrize(("name", "asked", "answered"), _recorded())
def test_what_real_jenkins_peers_wrote_passes_unchanged(
    name: str, asked: bytes, answered: bytes
) -> None:
    assert write_request_head(request(asked)) == asked
    head = response(answered)
    assert head.reason == b""
    assert write_response_head(head.status, head.reason, head.headers) == answered


def test_a_node_name_in_latin_1_stays_as_it_is() -> None:
    head = request(b"GET /wsagents/ HTTP/1.1\r\nHost: a\r\nNode-Name: agent-\xfc\r\n\r\n")
    assert head.headers.get(b"node-name") == b"agent-\xfc"


# -- responses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.0 404 Not Found", 404, b"Not Found"),
        (b"HTTP/1.1 599 \xfcber\t!", 599, b"\xfcber\t!"),
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
        (b"HTTP/1.1 999 ", 999, b""),
    ],
)
def test_status_lines_that_pass(line: bytes, status: int, reason: bytes) -> None:
    head = response(line + b"\r\nA: b\r\n\r\n")
    assert (head.status, head.reason) == (status, reason)
    assert head.headers.get(b"a") == b"b"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\x01\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
        b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"Jenkins-Agent-Protocols: JNLP4-connect, Ping\r\n",
        b"HTTP/1.1 200 " + b"a" * 40_000,
    ],
)
def test_ambiguous_answers_are_refused(data: bytes) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(RemoteProtocolError):
            read_response(pieces)


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"a\r\nb", b"a\nb", b"a\rb", b"a\0b"])
def test_nothing_is_written_that_would_split_a_head(bad: bytes) -> None:
    with pytest.raises(ValueError, match="inside a head"):
        write_response_head(200, b"OK", [(b"X", bad)])
    with pytest.raises(ValueError, match="inside a head"):
        write_response_head(200, bad, [])
    with pytest.raises(ValueError, match="inside a head"):
        write_request_head(RequestHead(b"GET", b"/", b"1.1", Headers([(bad, b"X")])))
    with pytest.raises(ValueError, match="inside a head"):
        write_fields([(b"X", bad)])


def test_a_response_head_is_written_exactly() -> None:
    assert (
        write_response_head(101, b"Switching Protocols", [(b"upGrade", b"websocket")])
        == b"HTTP/1.1 101 Switching Protocols\r\nupGrade: websocket\r\n\r\n"
    )
    assert write_response_head(200, b"", []) == b"HTTP/1.1 200 \r\n\r\n"


def test_fields_are_written_with_the_empty_line_after_them() -> None:
    assert write_fields([(b"A", b"1"), (b"b", b"")]) == b"A: 1\r\nb: \r\n\r\n"
    assert write_fields([]) == b"\r\n"


def test_a_repr_shows_no_query_and_no_values() -> None:
    head = request(b"GET /x?token=0123 HTTP/1.1\r\nHost: a\r\nCookie: 4567\r\n\r\n")
    assert "0123" not in repr(head)
    assert "4567" not in repr(head)
    assert "/x" in repr(head)
    assert "404" in repr(ResponseHead(404, b"", b"1.1", Headers()))


# -- whatever the bytes ----------------------------------------------------------------------------

_SNIPPETS = st.sampled_from(
    [
        *(b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b": ", b" ", b"\t", b"\0", b"\xff"),
        *(b"Host: a\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"),
        b"HTTP/1.1 200 OK\r\n",
    ]
)
_BYTES = st.lists(_SNIPPETS | st.binary(max_size=8), max_size=30).map(b"".join)


@given(data=_BYTES, cuts=st.lists(st.integers(0, 300), max_size=5))
@example(data=b"\r\n", cuts=[])
@example(data=b"GET / HTTP/1.1\r\n\r\n", cuts=[15])
def test_nothing_but_a_head_or_a_refusal_comes_out(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    for read in (read_request, read_response):
        results: list[object] = []
        for way in ([data], pieces, [data[i : i + 1] for i in range(len(data))]):
            try:
                results.append(read(way))
            except REFUSALS:
                results.append("refused")
        # Cut differently, a head is the same head, and a refusal the same refusal.
        assert results.count(results[0]) == len(results)


_TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
_VALUE = st.text(
    [chr(c) for c in range(0x20, 0x7F)] + [chr(c) for c in range(0x80, 0x100)] + ["\t"], max_size=30
).map(lambda text: text.encode("latin-1").strip(b" \t"))
_MEANT = re.compile(rb"(?i)host|content-length|transfer-encoding|upgrade")
_FIELD = st.tuples(_TOKEN, _VALUE).filter(lambda field: not _MEANT.fullmatch(field[0]))
_TARGET = st.text([chr(c) for c in range(0x21, 0x7F) if chr(c) != "#"], max_size=40)


@given(
    method=_TOKEN,
    target=_TARGET.map(lambda text: b"/" + text.encode()),
    fields=st.lists(_FIELD, max_size=8),
    place=st.integers(0, 8),
)
def test_every_well_formed_request_passes_and_is_written_back(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], place: int
) -> None:
    if method in {b"CONNECT", b"TRACE"}:
        return
    fields.insert(min(place, len(fields)), (b"Host", b"a"))
    lines = [b"%s %s HTTP/1.1" % (method, target), *(b"%s: %s" % field for field in fields)]
    data = b"\r\n".join([*lines, b"", b""])
    head, rest = read_request([data, b"rest"])
    assert head == RequestHead(method, target, b"1.1", Headers(fields))
    assert rest == b"rest"
    assert write_request_head(head) == data


def test_reading_byte_by_byte_does_linear_work() -> None:
    """Counted in bytes that searches may look at, not in seconds."""

    class Counting(bytearray):
        looked_at = 0

        def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
            Counting.looked_at += len(self) - start
            return super().find(sub, start)

    reader = RequestHeadReader(LIMITS)
    reader._buffer = Counting()
    data = b"GET /%s HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 4000, b"b" * 20_000)
    for i in range(len(data)):
        reader.receive_data(data[i : i + 1])
    assert Counting.looked_at < 10 * len(data)
