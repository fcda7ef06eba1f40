"""The keep-alive loop of one client: requests, deadlines, and what errors look like."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog.testing
import trio
import trio.testing

from gateway.errors import (
    AlreadyConnected,
    ClientGone,
    ControllerRefused,
    ControllerTimeout,
    ControllerUnreachable,
    Draining,
    GatewayError,
    LockedOut,
    MethodRefused,
    MissingAgentHeaders,
    NotAuthorized,
    NotImplementedHere,
    RemoteProtocolError,
    UnknownNode,
)
from gateway.http.client_limits import ClientLimits
from gateway.http.connection import (
    error_answer,
    error_text,
    serve_connection,
)
from gateway.http.exchange import Exchange
from gateway.http.router import Endpoint
from gateway.http.serving import Handler
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served, start
from tests.peers.raw_client import RawClient, Truncated

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CONFIG = make_config()


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, [(b"X-Path", exchange.request.path)], b"hello")


async def serve(
    stream: MemoryStream, handle: Handler = hello, limits: ClientLimits | None = None, **more: Any
) -> None:
    config = make_config(**more) if more else CONFIG
    await serve_connection(stream.as_stream(), served(config, handle, limits=limits))


def raising(error: BaseException) -> Handler:
    async def handle(exchange: Exchange) -> None:
        raise error

    return handle


def statuses(sent: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", sent)]


# -- keep-alive ------------------------------------------------------------------------------------


async def test_requests_follow_each_other_on_one_connection() -> None:
    stream = MemoryStream(GET, GET[:10], GET[10:], b"")
    await serve(stream)
    assert statuses(stream.sent) == [200, 200]
    assert stream.sends == 2
    assert stream.closed == "aclose"
    assert stream.user_timeout > 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    stream = MemoryStream(first + GET.replace(b"/x", b"/2") + GET.replace(b"/x", b"/3"), b"")
    await serve(stream)
    assert re.findall(rb"X-Path: (\S+)", stream.sent) == [b"/1", b"/2", b"/3"]


async def test_a_body_that_nobody_read_is_passed_over() -> None:
    stream = MemoryStream(
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\n",
        b"Host: a\r\nX: aaaa\r\n\r\n"[:21] + GET,
        b"",
    )
    seen = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange.request.path)
        await exchange.respond(200)

    await serve(stream, handle)
    assert seen == [b"/1", b"/x"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
async def test_the_client_may_want_one_answer_only(request_bytes: bytes) -> None:
    stream = MemoryStream(request_bytes)  # it never closes its side
    await serve(stream)
    assert statuses(stream.sent) == [200]
    assert b"Connection: close\r\n" in stream.sent
    assert stream.closed == "aclose"


@pytest.mark.parametrize("end", [b"", b"RESET"])
@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"\r\n"])
async def test_a_client_that_leaves_between_requests_gets_nothing(end: bytes, begun: bytes) -> None:
    stream = MemoryStream(GET, *([begun] if begun else []), end)
    await serve(stream)
    assert statuses(stream.sent) == [200]
    assert stream.closed == "aclose"


async def test_an_upgraded_stream_is_left_alone() -> None:
    stream = MemoryStream(GET)

    async def handle(exchange: Exchange) -> None:
        await exchange.upgrade([(b"Upgrade", b"x")])

    await serve(stream, handle)
    assert statuses(stream.sent) == [101]
    assert stream.closed == ""


async def test_a_handler_that_fails_after_an_upgrade_cuts_the_stream() -> None:
    stream = MemoryStream(GET)

    async def handle(exchange: Exchange) -> None:
        await exchange.upgrade([(b"Upgrade", b"x")])
        raise Draining()

    await serve(stream, handle)
    assert statuses(stream.sent) == [101]
    assert stream.closed == "abort"


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "expected", "after"),
    [
        ([], [], 15.0),  # nothing ever came: closed silently
        ([b"\r\n"], [], 15.0),
        ([GET], [200], 75.0),  # idle between requests: closed silently
        ([GET, b"G"], [200, 408], 15.0),
        ([b"GET / HTTP/1.1\r\n"], [408], 15.0),
    ],
)
async def test_a_silent_client(
    pieces: list[bytes], expected: list[int], after: float, autojump_clock: trio.testing.MockClock
) -> None:
    stream = MemoryStream(*pieces)
    await serve(stream)
    assert statuses(stream.sent) == expected
    assert after <= trio.current_time() <= after + 6  # the moment of lingering included
    assert stream.closed == "aclose"


async def test_a_head_that_dribbles_has_one_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = MemoryStream()

    async def dribble() -> None:
        for byte in GET * 10:
            await trio.sleep(1)
            stream.feed(bytes([byte]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        await serve(stream, limits=ClientLimits(linger_time=1.0))
        assert statuses(stream.sent) == [408]
        assert trio.current_time() < 20
        nursery.cancel_scope.cancel()


async def test_the_first_byte_of_a_later_request_starts_its_own_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = MemoryStream(GET)

    async def ask_again() -> None:
        await trio.sleep(70)
        stream.feed(GET[:5])
        await trio.sleep(14)
        stream.feed(GET[5:])
        stream.feed(b"")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_again)
        await serve(stream)
    assert statuses(stream.sent) == [200, 200]


async def test_lingering_ends(autojump_clock: trio.testing.MockClock) -> None:
    limits = ClientLimits(linger_timeout=2.0)
    stream = MemoryStream(b"nonsense\r\n")
    await serve(stream, limits=limits)
    assert 2.0 <= trio.current_time() <= 2.5
    assert stream.ended
    stream = MemoryStream(b"nonsense\r\n", *[b"x" * 1000] * 20)
    await serve(stream, limits=ClientLimits(linger=5000))
    assert len(stream._pieces) == 15
    assert stream.closed == "aclose"


async def test_who_still_sends_is_listened_to_but_not_for_ever(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    stream = MemoryStream(b"nonsense\r\n")

    @nursery.start_soon
    async def upload_slowly() -> None:
        while True:
            await trio.sleep(4)
            stream.feed(b"x")

    await serve(stream)
    assert trio.current_time() == 30
    assert stream.closed == "aclose"


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            MissingAgentHeaders(),
            400,
            b"This endpoint is only for use from agent.jar in WebSocket mode",
        ),
        (UnknownNode(), 400, b"no such agent"),
        (AlreadyConnected("x is already connected"), 400, b"x is already connected"),
        (ControllerRefused("m\xfcde"), 400, b"m\xfcde"),
        (RemoteProtocolError("odd", status_hint=414), 414, b"odd"),
        (MethodRefused(), 405, b"method not allowed"),
        (Draining(), 503, b"the gateway is shutting down, try again"),
        (ControllerUnreachable(detail="10.0.0.1"), 502, b"the controller cannot be reached"),
        (ControllerUnreachable(for_agents=True), 503, b"the controller cannot be reached"),
        (ControllerTimeout(), 504, b"the controller did not answer in time"),
    ],
)
async def test_errors_become_answers(error: GatewayError, status: int, text: bytes) -> None:
    stream = MemoryStream(GET, b"")
    with structlog.testing.capture_logs() as logs:
        await serve(stream, raising(error))
    assert statuses(stream.sent) == [status]
    assert b"\r\nX-Gateway-Error: %s\r\n" % text in stream.sent
    assert stream.sent.endswith(b"\r\n\r\n" + error.public.encode() + b"\n")
    assert b"10.0.0.1" not in stream.sent
    match = re.search(rb"X-Gateway-Error-Id: (.{9})\r\n", stream.sent)
    assert match is not None
    (line,) = logs
    assert line["error_id"] == match[1].decode()
    assert line["status"] == status
    assert line["client"] == "192.0.2.7"
    assert line["path"] == "/x"
    assert line["controller"] == "main"
    assert line["reason"] == str(error)


async def test_the_log_line_of_an_error_holds_no_secret_of_the_path() -> None:
    target = b"/static%2Dfiles/hunter2/x;jsessionid=hunter2?token=hunter2"
    with structlog.testing.capture_logs() as logs:
        await serve(MemoryStream(GET.replace(b"/x", target), b""), raising(NotImplementedHere()))
    (line,) = logs
    assert line["path"] == "/static%2Dfiles/***/x;jsessionid=***"
    assert "hunter2" not in str(line)


@pytest.mark.parametrize("error", [NotAuthorized("secret reason"), LockedOut()])
async def test_what_the_gateway_judged_is_one_constant_without_a_body(error: GatewayError) -> None:
    stream = MemoryStream(GET, b"")
    await serve(stream, raising(error))
    assert statuses(stream.sent) == [403]
    assert b"X-Gateway-Error: not authorized\r\n" in stream.sent
    assert b"X-Gateway-Error-Id: " in stream.sent
    assert b"Content-Length: 0\r\n" in stream.sent
    assert b"Content-Type" not in stream.sent


async def test_a_refused_request_leaves_the_connection_usable() -> None:
    stream = MemoryStream(GET, GET, b"")
    await serve(stream, raising(UnknownNode()))
    assert statuses(stream.sent) == [400, 400]


async def test_a_protocol_error_does_not() -> None:
    stream = MemoryStream(GET, GET, b"")
    await serve(stream, raising(RemoteProtocolError()))
    assert statuses(stream.sent) == [400]
    assert b"Connection: close\r\n" in stream.sent


async def test_a_method_that_is_not_allowed_names_those_that_are() -> None:
    stream = MemoryStream(GET, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", b"")
    await serve(stream, raising(MethodRefused(allowed="GET")))
    assert statuses(stream.sent) == [405, 405]
    first, second = re.findall(rb"\r\nAllow: (.*)\r\n", stream.sent)
    assert first == b"GET"
    assert b"POST" in second
    assert b"TRACE" not in second


async def test_a_bug_is_500_with_an_id_and_a_traceback_in_the_log() -> None:
    stream = MemoryStream(GET, GET, b"")
    with structlog.testing.capture_logs() as logs:
        await serve(stream, raising(ZeroDivisionError("secret detail")))
    assert statuses(stream.sent) == [500]
    assert b"secret detail" not in stream.sent
    assert b"X-Gateway-Error: internal error\r\n" in stream.sent
    assert b"Connection: close\r\n" in stream.sent
    (line,) = logs
    assert line["log_level"] == "error"
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert line["error_id"].encode() in stream.sent


async def test_bugs_in_a_group_are_bugs_too() -> None:
    stream = MemoryStream(GET, b"")
    with structlog.testing.capture_logs():
        await serve(stream, raising(ExceptionGroup("", [KeyError(), Draining()])))
    assert statuses(stream.sent) == [500]


async def test_a_handler_that_forgets_to_answer_is_a_bug() -> None:
    async def handle(exchange: Exchange) -> None:
        pass

    stream = MemoryStream(GET, b"")
    with structlog.testing.capture_logs() as logs:
        await serve(stream, handle)
    assert statuses(stream.sent) == [500]
    assert "without an answer" in str(logs[0]["exc_info"])


@pytest.mark.parametrize("error", [Draining(), ZeroDivisionError()])
async def test_an_error_in_the_middle_of_an_answer_cuts_it(error: Exception) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.queue_head(200, b"", [], length=None)
        await exchange.flush()
        raise error

    stream = MemoryStream(GET, GET, b"")
    with structlog.testing.capture_logs() as logs:
        await serve(stream, handle)
    assert statuses(stream.sent) == [200]
    assert not stream.sent.endswith(b"0\r\n\r\n")
    assert stream.closed == "abort"
    assert len(logs) == 1


async def test_error_headers_that_cannot_be_written_cut_the_connection() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.error_headers.append((b"X", b"a\r\nb"))
        raise Draining()

    stream = MemoryStream(GET)
    with structlog.testing.capture_logs() as logs:
        await serve(stream, handle)
    assert stream.sent == b""
    assert stream.closed == "abort"
    assert len(logs) == 2


async def test_a_client_that_left_is_only_logged() -> None:
    stream = MemoryStream(GET)
    with structlog.testing.capture_logs() as logs:
        await serve(stream, raising(ClientGone()))
    assert stream.sent == b""
    assert stream.closed == "abort"
    assert [line["status"] for line in logs] == [499]


async def test_an_error_for_a_client_that_left_meanwhile() -> None:
    stream = MemoryStream(GET)

    async def handle(exchange: Exchange) -> None:
        stream.broken = "connection reset by peer"
        raise Draining()

    with structlog.testing.capture_logs():
        await serve(stream, handle)
    assert stream.closed == "abort"


async def test_cancelling_is_never_swallowed() -> None:
    stream = MemoryStream(GET)

    async def handle(exchange: Exchange) -> None:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, stream, handle)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert stream.closed == "abort"
    assert stream.sent == b""


# -- heads that do not pass the gate, and routes that do not exist ---------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
        (b"CONNECT a:1 HTTP/1.1\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", 501),
    ],
)
async def test_a_refused_head_ends_the_connection(head: bytes, status: int) -> None:
    stream = MemoryStream(GET, head, GET, b"")
    with structlog.testing.capture_logs() as logs:
        await serve(stream)
    assert statuses(stream.sent) == [200, status]
    answer = stream.sent.partition(b"hello")[2]
    assert b"\r\nConnection: close\r\n" in answer
    match = re.search(rb"\r\nX-Gateway-Error-Id: (.{9})\r\n", answer)
    assert match is not None
    assert logs[-1]["error_id"] == match[1].decode()
    assert stream.closed == "aclose"


async def test_hosts_and_paths_that_nobody_serves() -> None:
    routes = [{"id": "r", "host": "a", "path": "/", "controller": "main"}]
    stream = MemoryStream(
        GET.replace(b"Host: a", b"Host: b"), GET.replace(b"/x", b"//wsagents/"), b""
    )
    await serve(stream, routes=routes)
    assert statuses(stream.sent) == [421, 400]


@pytest.mark.parametrize(
    ("cookie", "echoed"),
    [(b"00ffAB", True), (b"0" * 128, True), (b"xyz", False), (b"", False), (b"0" * 129, False)],
)
async def test_an_agent_keeps_its_cookie_when_its_route_is_not_found(
    cookie: bytes, *, echoed: bool
) -> None:
    """PROTOCOLS K.1: an agent whose cookie is not echoed forgets it."""
    routes = [{"id": "r", "host": "a", "controller": "main"}]
    stream = MemoryStream(
        b"GET /wsagents/ HTTP/1.1\r\nHost: b\r\nConnection-Cookie: %s\r\n\r\n" % cookie, b""
    )
    await serve(stream, routes=routes)
    assert statuses(stream.sent) == [421]
    assert (b"\r\nConnection-Cookie: %s\r\n" % cookie in stream.sent) is echoed


async def test_a_handler_decides_itself_about_the_cookie() -> None:
    stream = MemoryStream(
        b"GET /wsagents/ HTTP/1.1\r\nHost: a\r\nConnection-Cookie: 00ff\r\n\r\n", b""
    )
    await serve(stream, raising(UnknownNode()))
    assert b"Connection-Cookie" not in stream.sent


async def test_a_handler_sees_the_route_and_the_client() -> None:
    seen = []

    async def handle(exchange: Exchange) -> None:
        seen.append((exchange.match.endpoint, exchange.client_address, exchange.scheme))
        await exchange.respond(200)

    head = (
        b"GET /wsagents/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n"
        b"X-Forwarded-Proto: https\r\n\r\n"
    )
    await serve(MemoryStream(head, b""), handle)
    await serve(MemoryStream(head, b""), handle, trusted_proxies=["192.0.2.0/24"])
    assert seen == [
        (Endpoint.AGENTS, "192.0.2.7", "http"),
        (Endpoint.AGENTS, "198.51.100.9", "https"),
    ]


# -- small things ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", b"plain"),
        ("two\r\nlines\tand more", b"two lines and more"),
        ("\x1b[2Jclear", b"?[2Jclear"),
        ("m\xfcde \u20ac\U0001f600 \x85", b"m\xfcde ?"),
        ("", b""),
        ("x" * 1000, b"x" * 512),
    ],
)
def test_error_texts_fit_into_a_header(text: str, value: bytes) -> None:
    assert error_text(text) == value


def test_the_error_answer_of_a_long_text_is_bounded() -> None:
    _, fields, body = error_answer(ControllerRefused("y" * 5000), "abcd-efgh")
    assert len(body) <= 513
    assert all(len(value) <= 512 for _, value in fields)


# -- on real sockets -------------------------------------------------------------------------------


async def test_a_refusal_survives_a_client_that_is_still_sending(nursery: trio.Nursery) -> None:
    """Closing with unread bytes would reset the connection and lose the answer."""
    port = await start(nursery, hello)
    async with await RawClient.connect(port) as client:
        with trio.fail_after(20):
            await client.send(b"GET / HTTP/1.1\r\nX: " + b"a" * 300_000)
            answer = await client.read_answer()
            assert answer.status == 431
            assert await client.read_to_end() == b""


async def test_a_cut_answer_is_seen_as_cut(nursery: trio.Nursery) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.queue_head(200, b"", [], length=None)
        exchange.queue_body(b"hello")
        await exchange.flush()
        raise Draining()

    port = await start(nursery, handle)
    async with await RawClient.connect(port) as client:
        with pytest.raises(Truncated):
            await client.ask(GET)


async def test_an_agent_that_leaves_while_its_session_is_set_up(nursery: trio.Nursery) -> None:
    entered, cancelled = trio.Event(), trio.Event()

    async def handle(exchange: Exchange) -> None:
        async with exchange.cancel_if_client_leaves():
            entered.set()
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

    port = await start(nursery, handle)
    for leave in (_close, _half_close):
        entered, cancelled = trio.Event(), trio.Event()
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(GET)
        with trio.fail_after(20):
            await entered.wait()
            await leave(client)
            await cancelled.wait()
        await client.aclose()


async def _close(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def _half_close(stream: trio.SocketStream) -> None:
    await stream.send_eof()
