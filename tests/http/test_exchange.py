"""One request and its answer, on a stream that a test scripts."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import (
    ClientGone,
    ControllerTimeout,
    GatewayError,
    RemoteProtocolError,
    RequestTimeout,
    Stalled,
    UpgradeRefused,
)
from gateway.http.client_limits import ClientLimits
from gateway.http.exchange import Exchange
from gateway.http.forwarding import Provenance
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers
from gateway.transport.stream import StreamBroken
from tests.http.memory_stream import MemoryStream

ID = b"X-Request-Id: abcd-efgh\r\n"
LIMITS = ClientLimits(early=100, drain=50)
PROVENANCE = Provenance(
    "198.51.100.9",
    "https",
    b"a",
    b"443",
    ("198.51.100.9",),
)


def make(
    stream: MemoryStream,
    *fields: Field,
    method: bytes = b"GET",
    version: bytes = b"1.1",
    early: bytes = b"",
) -> Exchange:
    return Exchange(
        RequestHead(method, b"/", version, Headers([(b"Host", b"a"), *fields])),
        stream.as_stream(),
        listener=ListenerConfig(address=Address("127.0.0.1", 1)),
        provenance=PROVENANCE,
        request_id="abcd-efgh",
        limits=LIMITS,
        early=early,
    )


async def test_what_a_handler_is_told() -> None:
    exchange = make(MemoryStream())
    assert exchange.peer.host == "192.0.2.7"
    assert exchange.client_address == "198.51.100.9"
    assert exchange.scheme == "https"
    assert exchange.request_id == "abcd-efgh"
    assert exchange.listener.address.port == 1
    assert exchange.error_headers == []
    assert not exchange.routed
    with pytest.raises(AssertionError):
        _ = exchange.match


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_body_comes_in_pieces_and_what_follows_is_kept() -> None:
    stream = MemoryStream(b"lo", b"GET /")
    exchange = make(stream, (b"Content-Length", b"5"), method=b"POST", early=b"hel")
    assert not exchange.request_received
    assert await exchange.receive_body() == b"hel"
    assert await exchange.receive_body() == b"lo"
    assert exchange.request_received
    assert await exchange.receive_body() == b""
    assert exchange.rest == b""


async def test_a_whole_body_at_hand_needs_no_waiting() -> None:
    exchange = make(MemoryStream(), (b"Content-Length", b"5"), method=b"POST", early=b"helloGET /")
    assert exchange.body_at_hand() == b"hello"
    assert exchange.request_received
    assert exchange.rest == b"GET /"
    assert exchange.body_at_hand() == b""
    assert exchange.rest == b"GET /"


async def test_trailers_are_there_at_the_end() -> None:
    stream = MemoryStream(b"5\r\nhello\r\n0\r\n", b"X-Sum: 1\r\n\r\n")
    exchange = make(stream, (b"Transfer-Encoding", b"chunked"), method=b"POST")
    assert await exchange.receive_body() == b"hello"
    assert await exchange.receive_body() == b""
    assert exchange.request_trailers == ((b"X-Sum", b"1"),)


@pytest.mark.parametrize("end", [b"", b"RESET"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_gone(end: bytes) -> None:
    exchange = make(MemoryStream(b"he", end), (b"Content-Length", b"5"), method=b"POST")
    assert await exchange.receive_body() == b"he"
    with pytest.raises(ClientGone):
        await exchange.receive_body()


async def test_a_body_that_pauses_for_too_long(autojump_clock: trio.testing.MockClock) -> None:
    exchange = make(MemoryStream(b"he"), (b"Content-Length", b"5"), method=b"POST")
    assert await exchange.receive_body() == b"he"
    began = trio.current_time()
    with pytest.raises(RequestTimeout):
        await exchange.receive_body()
    assert trio.current_time() - began == LIMITS.body_timeout


async def test_a_malformed_body_is_refused() -> None:
    exchange = make(MemoryStream(b"nonsense\r\n"), (b"Transfer-Encoding", b"chunked"))
    with pytest.raises(RemoteProtocolError):
        await exchange.receive_body()


@pytest.mark.parametrize(
    ("fields", "pieces", "drained"),
    [
        ([], [], True),
        ([(b"Content-Length", b"50")], [b"x" * 20, b"x" * 30], True),
        ([(b"Content-Length", b"51")], [b"x" * 51], False),
        ([(b"Content-Length", b"50")], [b"x" * 20, b""], False),
        ([(b"Content-Length", b"50")], [b"x" * 20, b"RESET"], False),
        ([(b"Content-Length", b"50")], [b"x" * 20], False),  # and then nothing
        ([(b"Content-Length", b"5"), (b"Expect", b"100-Continue")], [b"x" * 5], False),
        ([(b"Transfer-Encoding", b"chunked")], [b"0\r\n\r\n"], False),
    ],
)
async def test_what_is_left_of_a_body_is_drained_within_bounds(
    fields: list[Field],
    pieces: list[bytes],
    autojump_clock: trio.testing.MockClock,
    *,
    drained: bool,
) -> None:
    exchange = make(MemoryStream(*pieces), *fields, method=b"POST")
    assert await exchange.drain() is drained
    assert trio.current_time() <= LIMITS.drain_timeout + 1


# -- answers ---------------------------------------------------------------------------------------


def without_date(data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    assert sum(line.startswith(b"Date: ") for line in lines) == 1
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date: "))


async def test_an_answer_leaves_in_one_send() -> None:
    stream = MemoryStream()
    exchange = make(stream)
    await exchange.respond(404, [(b"X-A", b"b")], b"gone\n")
    assert (
        without_date(stream.sent)
        == b"HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 5\r\n%b\r\ngone\n" % ID
    )
    assert stream.sends == 1
    assert exchange.started
    assert exchange.responded
    assert exchange.reusable


async def test_head_gets_the_length_and_not_the_body() -> None:
    stream = MemoryStream()
    await make(stream, method=b"HEAD").respond(200, body=b"hello")
    assert stream.sent.endswith(b"\r\n\r\n")
    assert b"Content-Length: 5\r\n" in stream.sent


@pytest.mark.parametrize("status", [204, 304])
async def test_no_length_where_there_is_no_body(status: int) -> None:
    stream = MemoryStream()
    await make(stream).respond(status)
    assert b"Content-Length" not in stream.sent
    assert stream.sent.endswith(b"\r\n\r\n")


async def test_an_answer_may_end_the_connection() -> None:
    stream = MemoryStream()
    exchange = make(stream)
    await exchange.respond(400, close=True)
    assert b"Connection: close\r\n" in stream.sent
    assert not exchange.reusable


@pytest.mark.parametrize(
    ("fields", "reusable"),
    [
        ([(b"Content-Length", b"50")], True),
        ([(b"Content-Length", b"51")], False),
        ([(b"Content-Length", b"50"), (b"Expect", b"100-continue")], False),
        ([(b"Transfer-Encoding", b"chunked")], False),
    ],
)
async def test_an_early_answer_ends_the_connection_where_the_body_is_too_much_to_drop(
    fields: list[Field], *, reusable: bool
) -> None:
    stream = MemoryStream()
    exchange = make(stream, *fields, method=b"POST")
    await exchange.respond(403)
    assert exchange.reusable is reusable
    assert (b"Connection: close\r\n" in stream.sent) is not reusable


async def test_a_streamed_answer() -> None:
    stream = MemoryStream()
    exchange = make(stream)
    exchange.queue_informational(103, b"Early Hints", [(b"Link", b"x")])
    exchange.queue_head(200, b"Fine", [(b"A", b"b")], length=None)
    exchange.queue_body(b"hello")
    await exchange.flush()
    assert not exchange.responded
    exchange.queue_end([(b"X-Sum", b"1")])
    await exchange.flush()
    await exchange.flush()  # nothing to send is nothing sent
    assert stream.sends == 2
    assert stream.sent == (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 Fine\r\nA: b\r\n" + ID + b"Transfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert exchange.reusable


async def test_http_1_0_gets_no_informational_answers() -> None:
    stream = MemoryStream()
    exchange = make(stream, version=b"1.0")
    exchange.queue_informational(100, b"Continue", [])
    await exchange.respond(200)
    assert stream.sent.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_left_is_gone_when_it_is_answered() -> None:
    stream = MemoryStream()
    stream.broken = "connection reset by peer"
    with pytest.raises(ClientGone, match="reset"):
        await make(stream).respond(200)


async def test_a_client_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    stream = MemoryStream()
    stream.blocked = True
    with pytest.raises(Stalled):
        await make(stream).respond(200)
    assert trio.current_time() == LIMITS.send_timeout


async def test_a_client_that_takes_little_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(MemoryStream):
        left = 5

        async def flush(self) -> None:
            while self.left:
                await trio.sleep(0.7 * LIMITS.send_timeout)
                self.left -= 1
                self.activity.bytes_written += 1

    stream = Slow()
    stream.blocked = True
    exchange = make(stream)
    await exchange.respond(200)
    assert exchange.responded
    assert trio.current_time() > 3 * LIMITS.send_timeout


async def test_fields_that_would_split_the_head_can_still_be_answered() -> None:
    stream = MemoryStream()
    exchange = make(stream)
    with pytest.raises(ValueError, match="inside a head"):
        await exchange.respond(200, [(b"X", b"a\r\nb")])
    assert not exchange.started
    with pytest.raises(ValueError, match="inside a head"):
        await exchange.upgrade([(b"X", b"a\r\nb")])
    assert not exchange.upgraded
    await exchange.respond(500)
    assert stream.sent.startswith(b"HTTP/1.1 500 ")


# -- upgrades --------------------------------------------------------------------------------------


async def test_an_upgrade_hands_over_the_stream_and_what_arrived() -> None:
    stream = MemoryStream()
    exchange = make(stream, early=b"\x82\x80")
    got, rest = await exchange.upgrade([(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")])
    assert got is exchange.stream
    assert rest == b"\x82\x80"
    assert stream.sent == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    assert exchange.upgraded
    assert exchange.started


async def test_an_upgrade_with_a_body_is_refused() -> None:
    stream = MemoryStream()
    with pytest.raises(UpgradeRefused):
        await make(stream, (b"Content-Length", b"5")).upgrade([])
    assert stream.sent == b""


# -- clients that leave ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"RESET"])
async def test_a_client_that_leaves_cancels_what_is_done_for_it(
    end: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    stream = MemoryStream()
    exchange = make(stream)
    ended_at = []

    async def dial() -> None:
        async with exchange.cancel_if_client_leaves():
            try:
                await trio.sleep(60)
            finally:
                ended_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed_later, stream, end)
        with pytest.raises(ClientGone):
            await dial()
    assert ended_at == [1.0]


async def _feed_later(stream: MemoryStream, *pieces: bytes) -> None:
    await trio.sleep(1)
    for piece in pieces:
        stream.feed(piece)


async def test_bytes_that_come_meanwhile_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    stream = MemoryStream()
    exchange = make(stream, early=b"a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed_later, stream, b"b", b"c")
        async with exchange.cancel_if_client_leaves():
            await trio.sleep(2)
    stream.feed(b"d")
    _, rest = await exchange.upgrade([])
    assert rest == b"abc"
    assert await stream.receive_some() == b"d"


async def test_too_many_bytes_meanwhile_end_it(autojump_clock: trio.testing.MockClock) -> None:
    exchange = make(MemoryStream(b"x" * 60, b"x" * 60))
    with pytest.raises(RemoteProtocolError):
        async with exchange.cancel_if_client_leaves():
            await trio.sleep(60)


@pytest.mark.parametrize("error", [ControllerTimeout(), StreamBroken("x")])
async def test_an_error_of_the_body_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        async with make(MemoryStream()).cancel_if_client_leaves():
            raise error
    assert raised.value is error


async def test_a_deadline_around_it_works(autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with make(MemoryStream()).cancel_if_client_leaves():
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 5.0


async def test_leaving_is_noticed_even_when_the_body_is_done() -> None:
    """The watcher saw the end before the body, which never waits for anything, was over."""
    exchange = make(MemoryStream(b""))
    with pytest.raises(GatewayError):
        async with exchange.cancel_if_client_leaves():
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("pieces", "left", "rest"),
    [([], False, b""), ([b"GET"], False, b"GET"), ([b""], True, b""), ([b"RESET"], True, b"")],
)
async def test_looking_for_the_client_does_not_wait(
    pieces: list[bytes], rest: bytes, autojump_clock: trio.testing.MockClock, *, left: bool
) -> None:
    exchange = make(MemoryStream(*pieces))
    assert await exchange.client_has_left() is left
    assert exchange.rest == rest
    assert trio.current_time() < 0.1


async def test_abort_cuts_the_stream() -> None:
    stream = MemoryStream()
    make(stream).abort()
    assert stream.closed == "abort"
