"""One connection to a controller: exact requests, the gate for answers, and the ways it fails."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.controller_connection import ControllerConnection, ControllerLimits
from gateway.protocol.http_head import HeadLimits, RequestHead
from gateway.protocol.http_headers import Field, Headers
from gateway.transport.stream import Stream
from tests.http.memory_stream import MemoryStream

LIMITS = ControllerLimits(head=HeadLimits(total=1000), informational=3)


def request(*fields: Field, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, b"/x?y", b"1.1", Headers([(b"hOST", b"a"), *fields]))


async def ask(stream: MemoryStream, method: bytes = b"GET") -> ControllerConnection:
    connection = ControllerConnection(stream.as_stream(), LIMITS)
    await connection.send_request(request(method=method), ended=True)
    return connection


# -- requests --------------------------------------------------------------------------------------


async def test_a_request_leaves_exactly_as_it_is_in_one_send() -> None:
    stream = MemoryStream()
    await ask(stream)
    assert stream.sent == b"GET /x?y HTTP/1.1\r\nhOST: a\r\n\r\n"
    assert stream.sends == 1


async def test_bodies_leave_piece_by_piece() -> None:
    stream = MemoryStream()
    connection = ControllerConnection(stream.as_stream(), LIMITS)
    head = request((b"Transfer-Encoding", b"chunked"), method=b"PUT")
    await connection.send_request(head, b"he", ended=False)
    await connection.send_body(b"llo", ended=False)
    await connection.send_body(b"!", ended=True, trailers=[(b"X-Sum", b"1")])
    body = stream.sent.partition(b"\r\n\r\n")[2]
    assert body == b"2\r\nhe\r\n3\r\nllo\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert stream.sends == 3


async def test_a_controller_that_hung_up_is_unreachable() -> None:
    stream = MemoryStream()
    stream.broken = "broken pipe"
    with pytest.raises(ControllerUnreachable, match="broken pipe"):
        await ask(stream)


async def test_a_controller_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    stream = MemoryStream()
    stream.blocked = True
    with pytest.raises(ControllerTimeout):
        await ask(stream)
    assert trio.current_time() == LIMITS.send_timeout


# -- answers ---------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_in_any_pieces(size: int) -> None:
    wire = b"HTTP/1.1 102 \r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"hello"
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    connection = await ask(MemoryStream(*pieces))
    assert [(await connection.receive_head()).status for _ in range(3)] == [102, 103, 200]
    body = connection.body_at_hand()
    while not connection.received_all:
        body += await connection.receive_body()
    assert body == b"hello"
    assert await connection.receive_body() == b""


async def test_a_body_that_came_with_the_head_is_at_hand_once() -> None:
    connection = await ask(MemoryStream(OK + b"he", b"llo"))
    await connection.receive_head()
    assert await connection.receive_body() == b"he"
    assert connection.body_at_hand() == b""
    assert await connection.receive_body() == b"llo"
    assert connection.received_all


async def test_an_answer_to_head_has_no_body() -> None:
    connection = await ask(MemoryStream(OK), b"HEAD")
    head = await connection.receive_head()
    assert head.content_length == 5
    assert connection.received_all


async def test_an_answer_without_framing_ends_with_the_stream() -> None:
    connection = await ask(MemoryStream(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", b""))
    await connection.receive_head()
    body = b""
    while not connection.received_all:
        body += await connection.receive_body()
    assert body == b"hello"


async def test_trailers_are_there_at_the_end() -> None:
    wire = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-SUM: 1\r\n\r\n"
    connection = await ask(MemoryStream(wire))
    await connection.receive_head()
    assert connection.received_all
    assert connection.trailers == ((b"X-SUM", b"1"),)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"RESET"],
        [b"HTTP/1.1 200 \r\n", b""],
        [b"HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"],
        [b"HTTP/1.1 200 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
        [b"HTTP/1.1 200 \r\nA: b\n\r\n"],
        [b"HTTP/1.1 200 \r\nA: " + b"b" * 1000 + b"\r\n\r\n"],
        [b"HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"],
        [b"HTTP/1.1 102 \r\n\r\n" * 4],
        [b"\x16\x03\x01"],
        [b"\r\n" + OK],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
    ],
)
async def test_an_answer_that_is_none_makes_the_controller_unreachable(pieces: list[bytes]) -> None:
    connection = await ask(MemoryStream(*pieces))

    async def receive() -> None:
        while (await connection.receive_head()).status < 200:
            pass

    with pytest.raises(ControllerUnreachable):
        await receive()


@pytest.mark.parametrize(
    "pieces",
    [
        [OK, b"hel", b""],
        [OK, b"hel", b"RESET"],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", b"lloX\r\n"],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", b"llo\r\n", b""],
    ],
)
async def test_a_body_that_is_cut_or_malformed(pieces: list[bytes]) -> None:
    connection = await ask(MemoryStream(*pieces))
    await connection.receive_head()

    async def receive() -> None:
        while not connection.received_all:
            await connection.receive_body()

    with pytest.raises(ControllerUnreachable):
        await receive()


async def test_receiving_may_be_cancelled_and_repeated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = MemoryStream(OK[:10])
    connection = await ask(stream)
    with trio.move_on_after(1) as scope:
        await connection.receive_head()
    assert scope.cancelled_caught
    stream.feed(OK[10:])
    assert (await connection.receive_head()).status == 200
    with trio.move_on_after(1) as scope:
        await connection.receive_body()
    assert scope.cancelled_caught
    stream.feed(b"hello")
    assert await connection.receive_body() == b"hello"


async def test_closing_is_orderly_only_after_a_whole_answer() -> None:
    for wire, expected in ((OK + b"hello", "close"), (OK, "abort")):
        stream = MemoryStream(wire)
        connection = await ask(stream)
        await connection.receive_head()
        connection.close()
        assert stream.closed == expected


# -- the next exchange -----------------------------------------------------------------------------


async def complete(connection: ControllerConnection) -> bytes:
    while (await connection.receive_head()).status < 200:
        pass
    body = connection.body_at_hand()
    while not connection.received_all:
        body += await connection.receive_body()
    return body


async def test_one_exchange_after_the_other() -> None:
    stream = MemoryStream(b"HTTP/1.1 102 \r\n\r\n" + OK + b"hello")
    connection = await ask(stream)
    assert not connection.reused
    assert not connection.reusable
    assert await complete(connection) == b"hello"
    assert connection.reusable
    stream.feed(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nyo\r\n0\r\nX: 1\r\n\r\n")
    await connection.send_request(request(), ended=True)
    assert connection.reused
    assert await complete(connection) == b"yo"
    assert connection.trailers == ((b"X", b"1"),)
    assert connection.reusable


@pytest.mark.parametrize(
    ("wire", "fields", "method"),
    [
        (OK + b"helloX", (), b"GET"),  # something left over
        (OK + b"hello", (), b"HEAD"),  # a body where none may be
        (b"HTTP/1.0 200 \r\nContent-Length: 0\r\n\r\n", (), b"GET"),
        (
            b"HTTP/1.0 200 \r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
            (),
            b"GET",
        ),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", (), b"GET"),
        (b"HTTP/1.1 204 \r\n\r\n", ((b"Connection", b"close"),), b"GET"),
    ],
)
async def test_when_no_other_exchange_may_follow(
    wire: bytes, fields: tuple[Field, ...], method: bytes
) -> None:
    connection = ControllerConnection(MemoryStream(wire).as_stream(), LIMITS)
    await connection.send_request(request(*fields, method=method), ended=True)
    await complete(connection)
    assert not connection.reusable


async def test_no_other_exchange_follows_one_that_ends_with_the_stream() -> None:
    connection = await ask(MemoryStream(b"HTTP/1.1 200 \r\n\r\n", b""))
    assert await complete(connection) == b""
    assert not connection.reusable


async def test_no_other_exchange_follows_an_answer_to_half_a_request() -> None:
    connection = ControllerConnection(MemoryStream(OK + b"hello").as_stream(), LIMITS)
    head = request((b"Content-Length", b"5"), method=b"POST")
    await connection.send_request(head, b"he", ended=False)
    await complete(connection)
    assert not connection.reusable


@pytest.mark.parametrize("broken", ["before", "after", "answering"])
async def test_what_may_be_repeated(broken: str) -> None:
    stream = MemoryStream(OK + b"hello")
    connection = await ask(stream)
    assert not connection.may_repeat(idempotent=True)  # not reused
    await complete(connection)
    if broken == "before":
        stream.broken = "broken pipe"
    stream.feed(b"HTTP" if broken == "answering" else b"")
    with pytest.raises(ControllerUnreachable):  # noqa: PT012 - one of the two
        await connection.send_request(request(), ended=True)
        stream.feed(b"")
        await complete(connection)
    assert connection.may_repeat(idempotent=True) is (broken != "answering")
    assert connection.may_repeat(idempotent=False) is (broken == "before")


async def test_a_request_of_which_a_part_left_is_not_repeated() -> None:
    near, far = trio.socket.socketpair()
    with far:
        connection = ControllerConnection(Stream(near), LIMITS)
        await far.send(OK + b"hello")
        await connection.send_request(request(), ended=True)
        await complete(connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_close_when_quiet, far)
            with pytest.raises(ControllerUnreachable):
                await connection.send_request(request((b"X", b"x" * 5_000_000)), ended=True)
        assert connection.may_repeat(idempotent=True)
        assert not connection.may_repeat(idempotent=False)
        connection.close()


async def _close_when_quiet(far: trio.socket.SocketType) -> None:
    await trio.testing.wait_all_tasks_blocked()
    far.close()


async def test_what_nobody_takes_is_no_reason_to_wait() -> None:
    """An early answer that is complete: the rest of the request has nobody to go to."""
    stream = MemoryStream(OK + b"hello")
    connection = ControllerConnection(stream.as_stream(), LIMITS)
    head = request((b"Content-Length", b"5"), method=b"POST")
    await connection.send_request(head, b"he", ended=False)
    await complete(connection)
    connection.close()
    assert stream.closed == "abort"


async def test_a_connection_with_something_unsent_serves_nobody_else() -> None:
    stream = MemoryStream(OK + b"hello")
    connection = await ask(stream)
    await complete(connection)
    assert connection.reusable
    stream.blocked = True
    assert not connection.reusable


async def test_an_idle_connection_on_which_anything_arrives_is_dead() -> None:
    stream = MemoryStream(OK + b"hello")
    connection = await ask(stream)
    await complete(connection)
    assert not connection.dead
    stream.feed(b"")
    assert connection.dead
