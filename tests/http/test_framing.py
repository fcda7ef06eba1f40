"""h11 behind its interface: both roles, body by body."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.http.framing import ClientFraming, ServerFraming
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers


def asked(
    *fields: Field, method: bytes = b"POST", version: bytes = b"1.1", target: bytes = b"/"
) -> RequestHead:
    return RequestHead(method, target, version, Headers([(b"Host", b"a"), *fields]))


def answered(*fields: Field, status: int = 200, version: bytes = b"1.1") -> ResponseHead:
    return ResponseHead(status, b"", version, Headers(fields))


CHUNKED = (b"transfer-ENCODING", b"Chunked")
LENGTH_5 = (b"Content-Length", b"5")


# -- a request's body ------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [(), ((b"Content-Length", b"0"),)])
def test_a_request_without_body_is_all_there(fields: tuple[Field, ...]) -> None:
    framing = ServerFraming(asked(*fields))
    assert framing.received_all
    assert framing.receive_data(b"GET /next") == b""
    assert framing.receive_data(b" HTTP/1.1") == b""
    assert framing.rest == b"GET /next HTTP/1.1"


def test_a_body_of_known_length_ends_where_it_should() -> None:
    framing = ServerFraming(asked(LENGTH_5))
    assert framing.receive_data(b"he") == b"he"
    assert not framing.received_all
    assert framing.receive_data(b"lloGET /") == b"llo"
    assert framing.received_all
    assert framing.rest == b"GET /"
    assert framing.trailers == ()


def test_a_chunked_body_with_trailers() -> None:
    framing = ServerFraming(asked(CHUNKED))
    assert framing.receive_data(b"5;x\r\nhello\r\n1") == b"hello"
    assert framing.receive_data(b"\r\n!\r\n0\r\nX-SUM: 1\r\n") == b"!"
    assert not framing.received_all
    assert framing.receive_data(b"\r\nGET /") == b""
    assert framing.received_all
    assert framing.trailers == ((b"X-SUM", b"1"),)
    assert framing.rest == b"GET /"


def test_the_gate_is_in_front_of_h11() -> None:
    """h11 alone would let this pass."""
    framing = ServerFraming(asked(CHUNKED))
    with pytest.raises(RemoteProtocolError):
        framing.receive_data(b"0\r\nX: 1\n\r\n")


@pytest.mark.parametrize("field", [LENGTH_5, CHUNKED])
def test_a_request_body_that_ends_early_is_an_error(field: Field) -> None:
    framing = ServerFraming(asked(field))
    framing.receive_data(b"3\r\n")
    with pytest.raises(RemoteProtocolError):
        framing.receive_eof()


def test_the_end_of_the_stream_after_a_request_is_none_of_its_business() -> None:
    framing = ServerFraming(asked(method=b"GET"))
    framing.receive_eof()
    assert framing.start_response(200, b"", [], length=0, close=False)


def test_large_pieces_are_taken_whole() -> None:
    data = bytes(range(256)) * 1024  # 256 KiB
    framing = ServerFraming(asked((b"Content-Length", b"%d" % (len(data) - 10))))
    assert framing.receive_data(data) == data[:-10]
    assert framing.rest == data[-10:]
    framing = ServerFraming(asked(CHUNKED))
    assert framing.receive_data(b"40000\r\n" + data + b"\r\n0\r\n\r\nrest") == data
    assert framing.received_all
    assert framing.rest == b"rest"


@given(
    body=st.binary(max_size=100),
    sizes=st.lists(st.integers(1, 30), max_size=8),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    chunked=st.booleans(),
)
def test_any_body_cut_anywhere_arrives(
    body: bytes, sizes: list[int], cuts: list[int], *, chunked: bool
) -> None:
    if chunked:
        edges = [0, *itertools.takewhile(lambda e: e < len(body), itertools.accumulate(sizes))]
        pieces = [body[a:b] for a, b in itertools.pairwise([*edges, len(body)]) if a < b]
        wire = b"".join(b"%X\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
        framing = ServerFraming(asked(CHUNKED))
    else:
        wire = body
        framing = ServerFraming(asked((b"Content-Length", b"%d" % len(body))))
    wire += b"rest"
    ends = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    got = b"".join(framing.receive_data(wire[a:b]) for a, b in itertools.pairwise(ends) if a < b)
    assert got == body
    assert framing.received_all
    assert framing.rest == b"rest"


# -- our answer ------------------------------------------------------------------------------------


def test_an_answer_of_known_length() -> None:
    framing = ServerFraming(asked(method=b"GET"))
    head = framing.start_response(200, b"OK", [(b"content-LENGTH", b"2")], length=2, close=False)
    assert head == b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n"
    assert framing.send_data(b"hi") + framing.end_response() == b"hi"
    assert not framing.closing


def test_an_answer_of_unknown_length_is_chunked_with_trailers() -> None:
    framing = ServerFraming(asked(method=b"GET"))
    head = framing.start_response(200, b"", [(b"A", b"b")], length=None, close=False)
    assert head == b"HTTP/1.1 200 \r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = framing.send_data(b"hello") + framing.send_data(b"") + framing.send_data(b"!")
    assert sent == b"5\r\nhello\r\n1\r\n!\r\n"
    assert framing.end_response([(b"X-Sum", b"1")]) == b"0\r\nX-Sum: 1\r\n\r\n"
    assert not framing.closing


def test_for_http_1_0_an_answer_of_unknown_length_ends_by_closing() -> None:
    framing = ServerFraming(asked(method=b"GET", version=b"1.0"))
    head = framing.start_response(200, b"", [], length=None, close=False)
    assert head == b"HTTP/1.1 200 \r\nConnection: close\r\n\r\n"
    assert framing.send_data(b"hello") == b"hello"
    assert framing.end_response([(b"X-Sum", b"1")]) == b""
    assert framing.closing


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 404)]
)
@pytest.mark.parametrize("length", [5, None])
def test_answers_without_body(method: bytes, status: int, length: int | None) -> None:
    framing = ServerFraming(asked(method=method))
    head = framing.start_response(status, b"", [(b"A", b"b")], length=length, close=False)
    assert head == b"HTTP/1.1 %d \r\nA: b\r\n\r\n" % status
    assert framing.send_data(b"hello") + framing.end_response() == b""
    assert not framing.closing


@pytest.mark.parametrize(
    ("request_head", "close"),
    [
        (asked(), True),
        (asked((b"Connection", b"Close")), False),
        (asked((b"Connection", b"x, close")), False),
        (asked(version=b"1.0"), False),
        (asked((b"Connection", b"keep-alive"), version=b"1.0"), False),
    ],
)
def test_when_the_connection_ends_the_answer_says_so(
    request_head: RequestHead, *, close: bool
) -> None:
    framing = ServerFraming(request_head)
    head = framing.start_response(200, b"", [], length=0, close=close)
    assert head == b"HTTP/1.1 200 \r\nConnection: close\r\n\r\n"
    assert framing.closing


def test_fields_that_would_split_the_head_leave_room_for_another_answer() -> None:
    framing = ServerFraming(asked())
    with pytest.raises(ValueError, match="inside a head"):
        framing.start_response(200, b"", [(b"A", b"b\r\nC: d")], length=0, close=False)
    assert framing.start_response(500, b"", [], length=0, close=True)


# -- our request -----------------------------------------------------------------------------------


def test_our_requests_bodies() -> None:
    framing = ClientFraming(asked(LENGTH_5))
    assert framing.send_data(b"hel") + framing.send_data(b"lo") + framing.end_request() == b"hello"
    framing = ClientFraming(asked(CHUNKED))
    assert framing.send_data(b"hello") == b"5\r\nhello\r\n"
    assert framing.end_request([(b"X-Sum", b"1")]) == b"0\r\nX-Sum: 1\r\n\r\n"
    framing = ClientFraming(asked(method=b"GET"))
    assert framing.end_request([(b"X-Sum", b"1")]) == b""


@pytest.mark.parametrize(
    ("head", "method", "wire", "body"),
    [
        (answered(LENGTH_5), b"GET", b"hello", b"hello"),
        (answered(CHUNKED), b"GET", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (answered(LENGTH_5), b"HEAD", b"", b""),
        (answered(CHUNKED), b"HEAD", b"", b""),
        (answered(LENGTH_5, status=304), b"GET", b"", b""),
        (answered(LENGTH_5, status=204), b"GET", b"", b""),
        (answered((b"Content-Length", b"0")), b"GET", b"", b""),
        (answered(LENGTH_5, version=b"1.0"), b"GET", b"hello", b"hello"),
    ],
)
def test_answers_end_by_themselves(
    head: ResponseHead, method: bytes, wire: bytes, body: bytes
) -> None:
    framing = ClientFraming(asked(method=method))
    framing.end_request()
    framing.start_response(head)
    assert framing.received_all is not bool(wire)
    assert framing.receive_data(wire + b"rest") == body
    assert framing.received_all
    assert framing.rest == b"rest"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_answer_without_framing_ends_with_the_stream(version: bytes) -> None:
    framing = ClientFraming(asked(method=b"GET"))
    framing.end_request()
    framing.start_response(answered(version=version))
    assert framing.receive_data(b"hello") == b"hello"
    assert not framing.received_all
    framing.receive_eof()
    assert framing.received_all


@pytest.mark.parametrize("field", [LENGTH_5, CHUNKED])
def test_an_answer_that_is_cut_off_is_an_error(field: Field) -> None:
    framing = ClientFraming(asked(method=b"GET"))
    framing.end_request()
    framing.start_response(answered(field))
    framing.receive_data(b"1\r\na")
    with pytest.raises(RemoteProtocolError):
        framing.receive_eof()


def test_an_answer_may_come_before_the_request_is_over() -> None:
    framing = ClientFraming(asked(CHUNKED))
    framing.send_data(b"hello")
    framing.start_response(answered(LENGTH_5))
    assert framing.receive_data(b"early") == b"early"
    assert framing.received_all
    assert framing.send_data(b"more") == b"4\r\nmore\r\n"
