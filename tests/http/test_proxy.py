"""The proxy between a raw client and a raw recording origin, on real sockets."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.client_limits import ClientLimits
from gateway.http.proxy import Proxy
from gateway.http.upstream import Upstreams
from tests.http.serving import make_config, start, start_proxy
from tests.peers.raw_client import Answer, RawClient, Truncated
from tests.peers.raw_origin import OriginConnection, RawOrigin, Recorded, Script, answering
from tests.protocol.malformed_heads import MALFORMED

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ID = b"X-Request-Id: abcd-efgh\r\n"
ADDED = (
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: %s\r\n"
    b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: %d\r\nX-Request-Id: abcd-efgh\r\n"
)


async def start_origin(nursery: trio.Nursery, script: Script) -> RawOrigin:
    origin: RawOrigin = await nursery.start(RawOrigin(script).run)
    return origin


async def exchange_once(
    nursery: trio.Nursery, script: Script, request: bytes
) -> tuple[Recorded, Answer]:
    """Send one request through a fresh gateway; return what arrived and what came back."""
    origin = await start_origin(nursery, script)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(request)
    return origin.requests[0], answer


# -- exactness -------------------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_sent(nursery: trio.Nursery) -> None:
    seen, answer = await exchange_once(
        nursery,
        answering(
            b"HTTP/1.1 200 Very Well\r\nX-Jenkins: 2.x\r\nset-cookie: a=1\r\nDate: now\r\n"
            b"Set-Cookie: b=2\r\nContent-Length: 2\r\nServer: Jetty\r\nConnection: close\r\n\r\nhi"
        ),
        b"PUT /a/%2F//b/%252F?x=[1]&y=%zz HTTP/1.1\r\nuser-AGENT: x\r\nX-1: a\r\nhost: ci:81\r\n"
        b"Content-Length: 5\r\nx-1: b\r\nConnection: keep-alive\r\nCookie: s=1\r\n\r\nhello",
    )
    assert seen.head == (
        b"PUT /a/%2F//b/%252F?x=[1]&y=%zz HTTP/1.1\r\nuser-AGENT: x\r\nX-1: a\r\nhost: ci:81\r\n"
        b"Content-Length: 5\r\nx-1: b\r\nCookie: s=1\r\n" + ADDED % (b"ci:81", 81) + b"\r\n"
    )
    assert seen.body == b"hello"
    assert answer.head == (
        b"HTTP/1.1 200 Very Well\r\nX-Jenkins: 2.x\r\nset-cookie: a=1\r\nDate: now\r\n"
        b"Set-Cookie: b=2\r\nContent-Length: 2\r\nServer: Jetty\r\nX-Request-Id: abcd-efgh\r\n\r\n"
    )
    assert answer.body == b"hi"


async def test_absolute_form_goes_on_in_origin_form(nursery: trio.Nursery) -> None:
    seen, _ = await exchange_once(
        nursery, answering(OK), b"GET http://ci/a?b HTTP/1.1\r\nHost: ci\r\n\r\n"
    )
    assert seen.line == b"GET /a?b HTTP/1.1"


async def test_a_request_of_http_1_0_gets_a_host(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.read_to_end() == b""
    assert answer.get(b"connection") == b"close"
    (seen,) = origin.requests
    assert seen.line == b"GET / HTTP/1.1"
    assert seen.get(b"host") == b"127.0.0.1:%d" % origin.port
    assert seen.get(b"x-forwarded-host") is None
    assert seen.get(b"x-forwarded-port") == b"8080"


async def test_only_discovery_sees_an_agents_fields(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port, prefix="/jenkins")
    for path in (b"/jenkins/login", b"/jenkins/tcpSlaveAgentListener/", b"/jenkins/job/x"):
        async with await RawClient.connect(port) as client:
            await client.ask(
                b"GET %s HTTP/1.1\r\nHost: a\r\nNode-Name: n\r\nSecret-Key: s\r\n"
                b"X-Remoting-Capability: c\r\nConnection-Cookie: 00\r\n\r\n" % path
            )
    seen = [
        [n for n, _ in r.fields if not n.startswith((b"X-Forwarded", b"X-Request-Id"))][1:]
        for r in origin.requests
    ]
    assert seen[0] == seen[2] == []
    assert seen[1] == [b"Node-Name", b"Secret-Key", b"X-Remoting-Capability", b"Connection-Cookie"]


TOKENS = st.text("abcXYZ019-_.!#$", min_size=1, max_size=10).map(str.encode)
VALUES = st.text([chr(c) for c in [9, *range(0x20, 0x7F), *range(0x80, 0x100)]], max_size=20).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
TARGETS = st.text([chr(c) for c in range(0x21, 0x7F) if chr(c) not in "#%;\\"], max_size=30)
SPECIAL = re.compile(
    rb"(?i)host|content-length|transfer-encoding|connection|upgrade|te|expect|keep-alive"
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from([b"GET", b"POST", b"DELETE", b"PROPFIND", b"x-odd"]),
    query=TARGETS,
    fields=st.lists(st.tuples(TOKENS, VALUES).filter(lambda f: not SPECIAL.fullmatch(f[0]))),
    body=st.binary(max_size=300),
    status=st.sampled_from([200, 201, 302, 404, 500]),
    answer=st.binary(max_size=300),
    ways=st.tuples(st.booleans(), st.sampled_from(["length", "chunked", "close"])),
    cut=st.integers(1, 400),
)
def test_any_request_arrives_and_its_answer_comes_back(
    method: bytes,
    query: str,
    fields: list[tuple[bytes, bytes]],
    body: bytes,
    status: int,
    answer: bytes,
    ways: tuple[bool, str],
    cut: int,
) -> None:
    chunked, how = ways
    line = b"%s /x?%s HTTP/1.1" % (method, query.encode())
    framing = (
        (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % len(body))
    )
    head = b"\r\n".join([line, b"Host: a", *(b"%s: %s" % f for f in [*fields, framing]), b"", b""])
    wire = body
    if chunked:
        wire = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    back = b"HTTP/1.1 %d \r\n" % status
    back += b"".join(b"%s: %s\r\n" % field for field in fields)
    if how == "length":
        back += b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer)
    elif how == "chunked":
        last = b"%x\r\n%s\r\n" % (len(answer), answer) if answer else b""
        back += b"Transfer-Encoding: chunked\r\n\r\n" + last + b"0\r\n\r\n"
    else:
        back += b"\r\n" + answer

    async def main() -> tuple[Recorded, Answer]:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                origin = await start_origin(nursery, answering(back))
                port = await start_proxy(nursery, origin.port)
                async with await RawClient.connect(port) as client:
                    await client.send((head + wire)[:cut])
                    if (head + wire)[cut:]:
                        await client.send((head + wire)[cut:])
                    got = await client.read_answer()
                nursery.cancel_scope.cancel()
        return origin.requests[0], got

    seen, got = trio.run(main)
    assert seen.line == line
    passed = [f for f in fields if f[0].lower() not in {b"te"}]
    assert [f for f in seen.fields if f[0] in dict(fields)] == passed
    assert seen.body == body
    assert seen.get(framing[0]) == framing[1]
    assert got.status == status
    assert [f for f in got.fields if f[0] in dict(fields)] == passed
    assert got.body == answer


async def test_what_the_gate_refuses_never_reaches_the_controller(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port)
    limits = {status for case in MALFORMED for status in case.statuses}
    for case in MALFORMED:
        async with await RawClient.connect(port) as client:
            await client.send(case.head + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await client.read_answer()
            assert answer.status in case.statuses, case.name
            assert answer.get(b"x-gateway-error"), case.name
            assert answer.get(b"connection") == b"close", case.name
            assert await client.read_to_end() == b"", case.name
    assert limits == {400, 405, 414, 431, 501, 505}
    assert origin.requests == []


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_chunked_upload_with_trailers(nursery: trio.Nursery) -> None:
    seen, answer = await exchange_once(
        nursery,
        answering(
            b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nTrailer: X-SUM\r\n\r\n"
            b"2\r\nhi\r\n0\r\nX-SUM: 9\r\n\r\n"
        ),
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nTrailer: x-Sum\r\n\r\n"
        b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nx-Sum: 7\r\n\r\n",
    )
    assert seen.body == b"hello!"
    assert seen.trailers == b"x-Sum: 7\r\n"
    assert seen.get(b"trailer") == b"x-Sum"
    assert answer.body == b"hi"
    assert answer.trailers == b"X-SUM: 9\r\n"
    assert answer.get(b"transfer-encoding") == b"chunked"


async def test_trailers_cannot_say_what_a_head_says(nursery: trio.Nursery) -> None:
    wanted = b"X-Sum: 7\r\n"
    unwanted = b"cookie: a\r\nX-Forwarded-User: admin\r\nSECRET-key: s\r\nIf-Match: x\r\n"
    last = b"0\r\n" + unwanted + wanted + b"\r\n"
    for at_once in (True, False):  # the body comes with the head, or after it
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        origin = await start_origin(
            nursery, answering(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n" + last)
        )
        port = await start_proxy(nursery, origin.port)
        async with await RawClient.connect(port) as client:
            if at_once:
                answer = await client.ask(head + last)
            else:
                await client.send(head + b"1\r\na\r\n")
                while not origin.requests:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                answer = await client.ask(last)
        assert origin.requests[0].trailers == wanted
        assert answer.trailers == wanted


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_answer_without_framing_is_framed_for_the_client(
    version: bytes, nursery: trio.Nursery
) -> None:
    _, answer = await exchange_once(
        nursery,
        answering(b"HTTP/1.0 200 OK\r\nContent-Type: x\r\n\r\nhello"),
        b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version,
    )
    assert answer.body == b"hello"
    assert (answer.get(b"transfer-encoding") == b"chunked") is (version == b"1.1")
    assert (answer.get(b"connection") == b"close") is (version == b"1.0")


async def test_a_chunked_answer_for_http_1_0(nursery: trio.Nursery) -> None:
    wire = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-S: 1\r\n\r\n"
    _, answer = await exchange_once(nursery, answering(wire), b"GET / HTTP/1.0\r\n\r\n")
    assert answer.body == b"hello"
    assert answer.get(b"transfer-encoding") is None


@pytest.mark.parametrize(
    ("method", "wire", "expected"),
    [
        (
            b"HEAD",
            b"HTTP/1.1 200 \r\nContent-Length: 500\r\n\r\n",
            b"HTTP/1.1 200 \r\nContent-Length: 500\r\n\r\n",
        ),
        (b"HEAD", b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 \r\nETag: x\r\n\r\n", b"HTTP/1.1 304 \r\nETag: x\r\n\r\n"),
    ],
)
async def test_answers_without_body_leave_the_connection_usable(
    method: bytes, wire: bytes, expected: bytes, nursery: trio.Nursery
) -> None:
    origin = await start_origin(nursery, answering(wire))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        for _ in range(2):
            answer = await client.ask(b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
            assert answer.head == expected[:-2] + ID + b"\r\n"
    assert len(origin.requests) == 2


async def test_pipelined_requests_each_get_their_own_answer(nursery: trio.Nursery) -> None:
    async def echo(connection: OriginConnection) -> None:
        while connection.buffer or await connection.receive():
            seen = await connection.read_request()
            answer = seen.line.split()[1] + b" " + seen.body
            head = b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % len(answer)
            await connection.send(head + answer)

    origin = await start_origin(nursery, echo)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        await client.send(
            b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\ntwo\r\n0\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        bodies = [(await client.read_answer()).body for _ in range(3)]
    assert bodies == [b"/1 one", b"/2 two", b"/3 "]


async def test_much_data_both_ways(nursery: trio.Nursery) -> None:
    data = bytes(range(256)) * 16 * 1024  # 4 MiB

    async def echo(connection: OriginConnection) -> None:
        seen = await connection.read_request()
        await connection.send(
            b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(seen.body)
        )
        await connection.send(seen.body + b"\r\n0\r\n\r\n")

    origin = await start_origin(nursery, echo)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(50):
            answer = await client.ask(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data) + data
            )
    assert answer.body == data


async def test_both_bodies_stream_at_once(nursery: trio.Nursery) -> None:
    """Each chunk is answered before the next one is sent: nothing waits for the end of anything."""

    async def echo(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n")
        while chunk := await connection.read_chunk():
            await connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk.upper()))
        await connection.send(b"0\r\n\r\n")

    origin = await start_origin(nursery, echo)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await client.read_head()).status == 200
            for word in (b"one", b"two", b"three"):
                await client.send(b"%x\r\n%s\r\n" % (len(word), word))
                assert await client.read_chunk() == word.upper()
            await client.send(b"0\r\n\r\n")
            assert await client.read_chunk() == b""


async def test_a_head_goes_out_before_its_body_is_there(nursery: trio.Nursery) -> None:
    go_on = trio.Event()

    async def slow(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n")
        await go_on.wait()
        await connection.send(b"hi")

    origin = await start_origin(nursery, slow)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(20):
            await client.read_head()
        go_on.set()
        while len(client.buffer) < 2:
            assert await client.receive()


async def test_back_pressure_upwards(nursery: trio.Nursery) -> None:
    """A controller that does not read stops the client; nothing piles up in between."""
    read_on = trio.Event()

    async def lazy(connection: OriginConnection) -> None:
        await connection.read_head()
        await read_on.wait()
        await connection.wait_for_end()

    origin = await start_origin(nursery, lazy)
    port = await start_proxy(nursery, origin.port)
    size = 64 * 1024 * 1024
    async with await RawClient.connect(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        with trio.move_on_after(0.5) as scope:
            while sent < size:
                await client.send(b"x" * 65536)
                sent += 65536
        assert scope.cancelled_caught
        assert sent < size // 2  # kernel buffers only
    read_on.set()
    with trio.fail_after(20):
        await origin.connections[0].ended.wait()


async def test_back_pressure_downwards(nursery: trio.Nursery) -> None:
    sent = 0
    stuck = trio.Event()

    async def flood(connection: OriginConnection) -> None:
        nonlocal sent
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 \r\n\r\n")
        while True:
            with trio.move_on_after(0.5) as scope:
                await connection.send(b"x" * 65536)
            if scope.cancelled_caught:
                break
            sent += 65536
        stuck.set()
        await connection.wait_for_end()

    origin = await start_origin(nursery, flood)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(30):
            await stuck.wait()
        assert 0 < sent < 32 * 1024 * 1024
    with trio.fail_after(20):
        await origin.connections[0].ended.wait()


# -- 100 Continue and early answers ----------------------------------------------------------------


async def test_expect_is_passed_on_and_100_comes_back(nursery: trio.Nursery) -> None:
    async def willing(connection: OriginConnection) -> None:
        seen = await connection.read_head()
        assert seen.get(b"expect") == b"100-continue"
        await connection.send(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 \r\nX: y\r\n"
            b"Content-Length: 5\r\n\r\nHTTP/1.1 103 \r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await connection.read_body()
        await connection.send(OK)

    origin = await start_origin(nursery, willing)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(
                b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await client.read_head()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await client.read_head()).head == b"HTTP/1.1 102 \r\nX: y\r\n\r\n"
            assert (await client.read_head()).head == b"HTTP/1.1 103 \r\n\r\n"
            answer = await client.ask(b"hello")
            assert (answer.status, answer.body) == (200, b"hi")
            assert answer.get(b"connection") is None
    assert origin.requests[0].body == b"hello"


async def test_a_refusal_instead_of_100(nursery: trio.Nursery) -> None:
    async def unwilling(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 413 \r\nContent-Length: 3\r\n\r\nno!")

    origin = await start_origin(nursery, unwilling)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            answer = await client.ask(
                b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (answer.status, answer.body) == (413, b"no!")
            assert answer.get(b"connection") == b"close"
            assert await client.read_to_end() == b""


async def test_an_early_answer_stops_the_upload(nursery: trio.Nursery) -> None:
    async def unwilling(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 403 \r\nContent-Length: 3\r\n\r\nno!")
        await connection.wait_for_end()

    origin = await start_origin(nursery, unwilling)
    limits = ClientLimits(linger_timeout=0.3)
    port = await start_proxy(nursery, origin.port, limits=limits)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n"
            )
            answer = await client.read_answer()
            assert (answer.status, answer.body) == (403, b"no!")
            assert answer.get(b"connection") == b"close"
            assert await client.read_to_end() == b""
            await origin.connections[0].ended.wait()


async def test_an_early_answer_to_a_small_body_keeps_the_connection(nursery: trio.Nursery) -> None:
    async def hasty(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(OK)
        await connection.wait_for_end()

    origin = await start_origin(nursery, hasty)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            for _ in range(3):
                await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
                assert (await client.read_answer()).get(b"connection") is None
                await client.send(b"llo")
    assert len(origin.requests) == 3


async def test_a_malformed_upload_never_looks_complete(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, _patient)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            )
            while not origin.connections or b"hello" not in origin.connections[0].buffer:
                await trio.testing.wait_all_tasks_blocked(0.01)
            await client.send(b"0\nX\r\n\r\n")
            answer = await client.read_answer()
            assert answer.status == 400
            await origin.connections[0].ended.wait()
    assert not origin.connections[0].buffer.endswith(b"0\r\n\r\n")


async def _patient(connection: OriginConnection) -> None:
    await connection.read_head()
    await connection.wait_for_end()


# -- clients that leave ----------------------------------------------------------------------------


async def test_a_client_that_leaves_in_its_upload_takes_the_controllers_connection_along(
    nursery: trio.Nursery,
) -> None:
    origin = await start_origin(nursery, _patient)
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello")
    with trio.fail_after(20):
        while not origin.connections:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await origin.connections[0].ended.wait()


async def test_a_client_that_leaves_a_silent_controller_is_noticed(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, _patient)
    port = await start_proxy(nursery, origin.port, client_check=0.1)
    async with await RawClient.connect(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(20):
            while not origin.connections:
                await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(20):
        await origin.connections[0].ended.wait()


async def test_a_client_that_only_closed_its_side_gets_its_answer(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with RawClient(stream) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await stream.send_eof()
        assert (await client.read_answer()).body == b"hi"
        assert await client.read_to_end() == b""


# -- controllers that fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\n\r\n",
        b"nonsense\r\n",
    ],
)
async def test_an_answer_that_is_none_is_502(wire: bytes, nursery: trio.Nursery) -> None:
    _, answer = await exchange_once(nursery, answering(wire), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 502
    assert answer.get(b"x-gateway-error") == b"the controller gave no usable answer"
    assert answer.get(b"connection") is None


async def test_nobody_listening_is_502(nursery: trio.Nursery) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    closed = listener.socket.getsockname()[1]
    await listener.aclose()
    port = await start_proxy(nursery, closed)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 502
    assert b"%d" % closed not in answer.head + answer.body


@pytest.mark.parametrize("body", [b"", b"Content-Length: 70000\r\n"])
async def test_no_answer_in_time_is_504(body: bytes, nursery: trio.Nursery) -> None:
    """The clock starts with the last byte of the request."""

    async def silent(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 102 \r\n\r\n")
        await connection.wait_for_end()

    origin = await start_origin(nursery, silent)
    port = await start_proxy(nursery, origin.port, answer_timeout=0.3)
    async with await RawClient.connect(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n" % body)
        with trio.fail_after(20):
            if body:
                await trio.sleep(0.6)
                await client.send(b"x" * 70000)
            assert (await client.read_head()).status == 102
            assert (await client.read_answer()).status == 504
            await origin.connections[0].ended.wait()


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 \r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_truncated_answer_is_seen_as_truncated(
    wire: bytes, version: bytes, nursery: trio.Nursery
) -> None:
    origin = await start_origin(nursery, answering(wire))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        with pytest.raises(Truncated):
            await client.ask(b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version)


async def test_a_controller_that_answers_and_resets_while_it_is_uploaded_to(
    nursery: trio.Nursery,
) -> None:
    """Its answer is worth more than the failure of the upload."""

    async def rude(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 413 \r\nContent-Length: 3\r\n\r\nno!")

    origin = await start_origin(nursery, rude)
    port = await start_proxy(nursery, origin.port, limits=ClientLimits(linger_timeout=0.3))
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
            )
            answer = await client.read_answer()
            assert (answer.status, answer.body) == (413, b"no!")


# -- what is not forwarded -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    ],
)
async def test_upgrades_are_refused_whole(fields: bytes, nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(b"GET /cli/ws HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert answer.status == 501
    assert answer.get(b"x-gateway-error")
    assert origin.connections == []


async def test_connection_options_that_strip_fields_are_refused(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        answer = await client.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Authorization\r\n\r\n"
        )
    assert answer.status == 400
    assert origin.connections == []


async def test_a_controller_without_url_answers_nothing(nursery: trio.Nursery) -> None:
    config = make_config(None)
    port = await start(nursery, Proxy(Upstreams(config)).forward, config)
    async with await RawClient.connect(port) as client:
        for path in (b"/", b"/login", b"/tcpSlaveAgentListener/"):
            answer = await client.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert answer.status == 404


# -- the discovery document ------------------------------------------------------------------------

DISCOVERY = (
    b"HTTP/1.1 200 OK\r\nX-Hudson-JNLP-Port: 50000\r\nX-Instance-Identity: MIIB\r\n"
    b"x-jenkins-jnlp-PORT: 50000\r\nX-Jenkins-Agent-Protocols: JNLP4-connect, Ping\r\n"
    b"Content-Length: 9\r\n\r\n\n Jenkins"
)
ASK = b"GET /tcpSlaveAgentListener/ HTTP/1.1\r\nHost: a\r\nNode-Name: n\r\n\r\n"


async def _discover(
    nursery: trio.Nursery, wire: bytes, tcp_discovery: object
) -> tuple[RawOrigin, Answer]:
    origin = await start_origin(nursery, answering(wire))
    port = await start_proxy(nursery, origin.port, controller={"tcp_discovery": tcp_discovery})
    async with await RawClient.connect(port) as client:
        return origin, await client.ask(ASK)


async def test_discovery_passes_untouched(nursery: trio.Nursery) -> None:
    origin, answer = await _discover(nursery, DISCOVERY, "pass")
    assert answer.head.replace(ID, b"") + answer.body == DISCOVERY
    assert origin.requests[0].get(b"node-name") == b"n"


async def test_discovery_may_be_hidden(nursery: trio.Nursery) -> None:
    origin, answer = await _discover(nursery, DISCOVERY, "hide")
    assert answer.status == 404
    assert origin.connections == []


async def test_discovery_may_be_rewritten(nursery: trio.Nursery) -> None:
    _, answer = await _discover(nursery, DISCOVERY, {"host": "gw.example.com", "port": 4711})
    assert answer.fields == [
        (b"X-Hudson-JNLP-Port", b"4711"),
        (b"X-Instance-Identity", b"MIIB"),
        (b"X-Jenkins-JNLP-Port", b"4711"),
        (b"X-Jenkins-Agent-Protocols", b"JNLP4-connect, Ping"),
        (b"Content-Length", b"9"),
        (b"X-Jenkins-JNLP-Host", b"gw.example.com"),
        (b"X-Request-Id", b"abcd-efgh"),
    ]
    assert answer.body == b"\n Jenkins"


async def test_a_disabled_port_is_not_advertised(nursery: trio.Nursery) -> None:
    wire = b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"
    _, answer = await _discover(nursery, wire, {"host": "gw.example.com", "port": 4711})
    assert answer.head.replace(ID, b"") == wire
