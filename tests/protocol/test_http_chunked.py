"""The gate for chunked bodies, alone and beside h11, which decodes what it lets pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.http_chunked import ChunkedGate, ChunkLimits
from gateway.protocol.http_headers import Field
from tests.feeding import TRAILING, feed_all_ways
from tests.protocol.malformed_bodies import MALFORMED_BODIES

LIMITS = ChunkLimits()


def pass_gate(
    pieces: Iterable[bytes], limits: ChunkLimits = LIMITS
) -> tuple[tuple[bool, tuple[Field, ...]], bytes]:
    gate = ChunkedGate(limits)
    rest = b""
    for piece in pieces:
        taken = gate.receive_data(piece)
        assert taken == len(piece) or gate.done
        rest += piece[taken:]
    return (gate.done, gate.trailers), rest


@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"00005\r\nhello\r\n000\r\n\r\n",
        b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"2\r\n\r\n\r\n0\r\n\r\n",
        b"5;x\r\nhello\r\n0;y=z\r\n\r\n",
        b'5; x="a;b"\r\nhello\r\n0\r\n\r\n',
    ],
)
def test_well_formed_bodies_pass(body: bytes) -> None:
    assert feed_all_ways(body, pass_gate) == (True, ())


def test_trailers_keep_their_case_and_order() -> None:
    body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-sUM:2 \r\n\r\n"
    assert feed_all_ways(body, pass_gate) == (True, ((b"X-Sum", b"1"), (b"x-sUM", b"2")))


@pytest.mark.parametrize("body", [pytest.param(c.body, id=c.name) for c in MALFORMED_BODIES])
def test_malformed_bodies_are_refused(body: bytes) -> None:
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))], [body + TRAILING]):
        with pytest.raises(RemoteProtocolError):
            pass_gate(pieces)


def test_limits_are_exact() -> None:
    limits = ChunkLimits(size_line=5, trailers=8, fields=1)
    assert pass_gate([b"1;x\r\na\r\n0\r\nA: 1\r\n\r\n"], limits)[0][0]
    for body in (b"1;xy\r\na\r\n", b"0\r\nA: 12\r\n\r\n", b"0\r\nA:\r\nB:\r\n\r\n"):
        with pytest.raises(RemoteProtocolError):
            pass_gate([body], limits)


def test_a_body_that_is_not_over_is_not_done() -> None:
    for body in (b"", b"5\r\nhel", b"5\r\nhello\r", b"0\r\n", b"0\r\nA: 1\r\n"):
        assert pass_gate([body]) == ((False, ()), b"")


_PIECES = st.sampled_from(
    [b"0", b"1", b"5", b"\r\n", b"\n", b"\r", b"hello", b";x", b" ", b"A: b", b"f", b":", b"\0"]
)


def _h11_decodes(data: bytes) -> tuple[bool, bytes]:
    """Say whether h11 finds the end of a body in ``data``, and what it leaves over."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)
    if data:  # an empty piece would mean the end of the stream to h11
        connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return True, connection.trailing_data[0]
        if not isinstance(event, h11.Data):
            return False, b""


@given(st.lists(_PIECES, max_size=20).map(b"".join))
def test_what_passes_means_the_same_to_h11(data: bytes) -> None:
    try:
        (done, _), rest = pass_gate([data])
    except RemoteProtocolError:
        return
    assert _h11_decodes(data) == (done, rest)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_every_cut_of_a_body_passes(chunks: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nT: 1\r\n\r\n"
    data = body + b"GET /"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert pass_gate(pieces) == ((True, ((b"T", b"1"),)), b"GET /")
