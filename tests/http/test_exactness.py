"""Refused, or forwarded in exactly one meaning: seen at a raw origin that records every byte.

``odd_requests`` are forwarded, ``malformed_bodies`` are not (``malformed_heads``: test_proxy). To
see where the gateway thinks that a request ends, each is followed by another one at once.
"""

from __future__ import annotations

import itertools
import re

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.odd_requests import ODD, Odd
from tests.http.serving import start_proxy
from tests.peers.raw_client import Answer, RawClient, Truncated
from tests.peers.raw_origin import OriginConnection, RawOrigin, Recorded
from tests.protocol.malformed_bodies import MALFORMED_BODIES, MalformedBody

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_ADDED = re.compile(rb"(?i)x-forwarded-.*|x-request-id")


async def answer_all(connection: OriginConnection) -> None:
    """Answer each request with its own line."""
    while connection.buffer or await connection.receive():
        seen = await connection.read_request()
        body = b"" if seen.line.startswith(b"HEAD ") else seen.line
        head = b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % len(seen.line)
        await connection.send(head + body)


def own_fields(seen: Recorded) -> tuple[tuple[bytes, bytes], ...]:
    """Return what the gateway has not added."""
    return tuple(field for field in seen.fields if not _ADDED.fullmatch(field[0]))


async def _check(odd: Odd, port: int, origin: RawOrigin, cut: int) -> None:
    origin.requests.clear()
    async with await RawClient.connect(port) as client:
        data = odd.wire + NEXT
        await client.send(data[:cut])
        await client.send(data[cut:])
        answer = await client.read_answer(to_head=odd.line.startswith(b"HEAD "))
        assert answer.status == 200, answer.head
        if odd.last:
            assert await client.read_to_end() == b""
        else:
            assert (await client.read_answer()).body == b"GET /next HTTP/1.1"
    seen, *rest = origin.requests
    assert [each.line for each in rest] == ([] if odd.last else [b"GET /next HTTP/1.1"])
    assert (seen.line, own_fields(seen)) == (odd.line, odd.fields)
    assert (seen.body, seen.trailers) == (odd.body, odd.trailers)


@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name) for odd in ODD])
async def test_odd_requests_have_one_meaning(odd: Odd, nursery: trio.Nursery) -> None:
    origin: RawOrigin = await nursery.start(RawOrigin(answer_all).run)
    port = await start_proxy(nursery, origin.port)
    with trio.fail_after(20):
        for cut in (len(odd.wire), 1, len(odd.wire) // 2, len(odd.wire) - 1):
            await _check(odd, port, origin, cut)


@pytest.mark.parametrize(
    "name", [b"Content-Length", b"HOST", b"content-type", b"Cookie", b"X-Forwarded-For"]
)
async def test_connection_must_not_name_what_a_request_means(
    name: bytes, nursery: trio.Nursery
) -> None:
    origin: RawOrigin = await nursery.start(RawOrigin(answer_all).run)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: %b\r\nContent-Length: 5\r\n\r\nhello" % name
        )
    assert answer.status == 400
    assert origin.connections == []


# -- malformed bodies ------------------------------------------------------------------------------


class Recording:
    """An origin that answers nothing and keeps what comes in its connection's buffer."""

    def __init__(self, marker: bytes = b"\r\n\r\n") -> None:
        self.origin = RawOrigin(self._script)
        self.arrived = trio.Event()  # ``marker`` was in it
        self._marker = marker

    async def _script(self, connection: OriginConnection) -> None:
        while await connection.receive():
            if self._marker in connection.buffer:
                self.arrived.set()

    async def all_of_it(self) -> tuple[list[bytes], bytes]:
        """Return the lines of the only head that came, and what was behind it, to the end."""
        (connection,) = self.origin.connections
        await connection.ended.wait()
        head, _, rest = bytes(connection.buffer).partition(b"\r\n\r\n")
        return head.split(b"\r\n"), rest


CASES = [pytest.param(case, id=case.name) for case in MALFORMED_BODIES]


@pytest.mark.parametrize("case", CASES)
async def test_a_malformed_body_at_hand_is_not_forwarded_at_all(
    case: MalformedBody, nursery: trio.Nursery
) -> None:
    recording = Recording()
    origin: RawOrigin = await nursery.start(recording.origin.run)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(HEAD + case.body + SMUGGLED)
            answer = await client.read_answer()
            assert answer.status == case.status
            assert answer.get(b"x-gateway-error")
            assert await client.read_to_end() == b""
    assert origin.connections == []


@pytest.mark.parametrize("case", CASES)
async def test_a_body_that_becomes_malformed_smuggles_nothing(
    case: MalformedBody, nursery: trio.Nursery
) -> None:
    """What was well-formed is on its way already; the rest is not, and there is no end."""
    recording = Recording(b"abc\r\n")
    origin: RawOrigin = await nursery.start(recording.origin.run)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(HEAD + b"3\r\nabc\r\n")
            await recording.arrived.wait()
            await client.send(case.body + SMUGGLED)
            try:
                answer = await client.read_answer()
            except Truncated:
                pass
            else:
                assert answer.status == case.status
                assert await client.read_to_end() == b""
            lines, rest = await recording.all_of_it()
    assert lines[0] == b"POST /upload HTTP/1.1"
    assert b"Transfer-Encoding: chunked" in lines
    # Whole chunks at most, and none of them the last.
    assert re.fullmatch(rb"(?:([1-9a-f])\r\n[ -~]{1,15}\r\n)+", rest), rest
    assert b"smuggled" not in rest


@pytest.mark.parametrize("cut", range(1, len(b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n")))
async def test_a_body_that_ends_early_has_no_end_at_the_controller(
    cut: int, nursery: trio.Nursery
) -> None:
    body = b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    recording = Recording()
    origin: RawOrigin = await nursery.start(recording.origin.run)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(HEAD + body[:cut])
            await recording.arrived.wait()
    with trio.fail_after(20):
        _, rest = await recording.all_of_it()
    assert re.fullmatch(rb"(?:[1-5]\r\n[helo]+\r\n)*", rest), rest


# -- any valid request, and the answer back --------------------------------------------------------

TOKENS = st.text("abcXYZ019-_.!$", min_size=1, max_size=10).map(str.encode)
VALUES = st.text([chr(c) for c in [9, *range(0x20, 0x7F), *range(0x80, 0x100)]], max_size=20).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
FIELDS = st.lists(st.tuples(TOKENS.map(lambda name: b"x-" + name), VALUES), max_size=6)
# Pieces of targets that others normalise, and that must arrive as they are.
PIECES = st.sampled_from(
    [
        *(b"a", b"B", b"%2F", b"%2f", b"%252F", b"%25", b"%61", b"%C3%BC", b"%5C", b"%3B", b"%3F"),
        *(b"//", b"/", b"/./", b";", b";x=1", b"\\", b"+", b"%20", b"~", b"'", b"[", b"{", b"|"),
        *(b":", b"@", b"!", b"...", b"*", b"<", b'"'),
    ]
)
QUERIES = PIECES | st.sampled_from([b"?", b"=", b"&", b"%zz", b"%", b"/../", b"http://b/"])
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"x-Odd"])
TRAILERS = st.lists(st.tuples(TOKENS.map(lambda name: b"X-" + name), VALUES), max_size=3)
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@st.composite
def requests(draw: st.DrawFn) -> Odd:
    """Draw a valid request; ``wire`` as it is sent."""
    path = b"/" + b"".join(draw(st.lists(PIECES, max_size=8)))
    query = draw(st.none() | st.lists(QUERIES, max_size=8).map(b"".join))
    target = path if query is None else path + b"?" + query
    line = b"%b %b HTTP/1.1" % (draw(METHODS), target)
    fields = draw(FIELDS)
    host = (draw(st.sampled_from([b"Host", b"host", b"HOST", b"hosT"])), b"a")
    fields.insert(draw(st.integers(0, len(fields))), host)
    kind = draw(st.sampled_from(["nothing", "length", "chunked"]))
    chunks = draw(CHUNKS)
    trailers = draw(TRAILERS)
    if kind == "nothing":
        return Odd("", "", _wire(line, fields), line, tuple(fields))
    body = b"".join(chunks)
    if kind == "length":
        length = (draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % len(body))
        fields.insert(draw(st.integers(0, len(fields))), length)
        return Odd("", "", _wire(line, fields) + body, line, tuple(fields), body)
    coding = (b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))
    sent = list(fields)
    sent.insert(draw(st.integers(0, len(fields))), coding)
    size = draw(st.sampled_from([b"%x", b"%X", b"%04x", b"%x;e=1"]))
    data = b"".join(size % len(chunk) + b"\r\n" + chunk + b"\r\n" for chunk in chunks)
    data += b"0\r\n" + _lines(trailers) + b"\r\n"
    expected = (*fields, (b"Transfer-Encoding", b"chunked"))
    return Odd("", "", _wire(line, sent) + data, line, expected, body, _lines(trailers))


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def _wire(line: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    return line + b"\r\n" + _lines(fields) + b"\r\n"


@st.composite
def answers(draw: st.DrawFn) -> Odd:
    """Draw a valid answer that says where it ends; ``line`` is its status line."""
    status = draw(st.sampled_from([200, 201, 204, 302, 304, 404, 500, 599]))
    line = b"HTTP/1.1 %d %b" % (status, draw(st.sampled_from([b"", b"OK", b"Very \xfc well"])))
    fields = draw(FIELDS)
    body = b"".join(chunks := draw(CHUNKS))
    if status in {204, 304}:
        return Odd("", "", _wire(line, fields), line, tuple(fields))
    if draw(st.booleans()):
        fields.append((b"content-LENGTH", b"%d" % len(body)))
        return Odd("", "", _wire(line, fields) + body, line, tuple(fields), body)
    trailers = draw(TRAILERS)
    sent = [(b"Transfer-Encoding", b"chunked"), *fields]
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    data += b"0\r\n" + _lines(trailers) + b"\r\n"
    expected = (*fields, (b"Transfer-Encoding", b"chunked"))
    return Odd("", "", _wire(line, sent) + data, line, expected, body, _lines(trailers))


EXCHANGES = st.lists(st.tuples(requests(), answers()), min_size=1, max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(exchanges=EXCHANGES, cuts=st.lists(st.integers(1, 1500), max_size=4))
def test_any_pipelined_requests_arrive_and_their_answers_come_back(
    exchanges: list[tuple[Odd, Odd]], cuts: list[int]
) -> None:
    wire = b"".join(request.wire for request, _ in exchanges)
    left = iter(exchanges)

    async def answer_each(connection: OriginConnection) -> None:
        while connection.buffer or await connection.receive():
            await connection.read_request()
            asked, answer = next(left)
            to_head = asked.line.startswith(b"HEAD ")
            head_only = answer.wire[: answer.wire.index(b"\r\n\r\n") + 4]
            await connection.send(head_only if to_head else answer.wire)

    async def main() -> tuple[list[Recorded], list[Answer]]:
        got = []
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                origin: RawOrigin = await nursery.start(RawOrigin(answer_each).run)
                port = await start_proxy(nursery, origin.port)
                async with await RawClient.connect(port) as client:
                    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
                    for begin, end in itertools.pairwise(edges):
                        if begin < end:
                            await client.send(wire[begin:end])
                    for asked, _ in exchanges:
                        to_head = asked.line.startswith(b"HEAD ")
                        got.append(await client.read_answer(to_head=to_head))
                nursery.cancel_scope.cancel()
        return origin.requests, got

    seen, got = trio.run(main)
    assert len(seen) == len(got) == len(exchanges)
    for (asked, answer), request, response in zip(exchanges, seen, got, strict=True):
        assert (request.line, own_fields(request)) == (asked.line, asked.fields)
        assert (request.body, request.trailers) == (asked.body, asked.trailers)
        assert response.head.split(b"\r\n")[0] == answer.line
        told = tuple(field for field in response.fields if not _ADDED.fullmatch(field[0]))
        if asked.line.startswith(b"HEAD "):
            assert told == tuple(f for f in answer.fields if f[0] != b"Transfer-Encoding")
            continue
        assert told == answer.fields
        assert (response.body, response.trailers) == (answer.body, answer.trailers)
