"""What the access log is told about exchanges, through a whole connection."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.errors import ControllerUnreachable
from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.serving import Handler
from gateway.observability.access_log import AccessLog
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served

GET = b"GET /x?token=hunter2 HTTP/1.1\r\nHost: ci:81\r\nUser-Agent: t\r\n\r\n"


async def lines_of(stream: MemoryStream, handle: Handler, **more: Any) -> list[dict[str, Any]]:
    """Serve a connection; return its lines of the access log."""
    config = make_config(**more)
    lines: list[str] = []
    access = AccessLog("json", write=lines.append)
    await serve_connection(stream.as_stream(), served(config, handle, access=access))
    return [json.loads(line) for line in lines]


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, [], b"hello")


async def test_one_line_for_each_request() -> None:
    first, second = await lines_of(MemoryStream(GET, GET.replace(b"/x", b"/y"), b""), hello)
    assert first["http.request.method"] == "GET"
    assert (first["url.path"], second["url.path"]) == ("/x", "/y")
    assert first["url.query"] == "token=***"
    assert first["server.address"] == "ci"
    assert first["http.response.status_code"] == 200
    assert first["http.response.body.size"] == 5
    assert first["client.address"] == first["network.peer.address"] == "192.0.2.7"
    assert (first["gateway.route.id"], first["jenkins.controller.name"]) == ("main", "main")
    assert first["user_agent.original"] == "t"
    assert first["gateway.request.id"] == "abcd-efgh"
    assert "gateway.controller.duration" not in first
    assert "error.type" not in first


async def test_the_trace() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = GET[:-2] + f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n".encode()
    first, second, third = await lines_of(MemoryStream(given, GET, GET, b""), hello)
    assert first["trace_id"] == trace
    # Each request without one has a trace of its own.
    assert len({trace, second["trace_id"], third["trace_id"]}) == 3


async def test_times_and_sizes(autojump_clock: MockClock) -> None:
    async def slow(exchange: Exchange) -> None:
        while await exchange.receive_body():
            pass
        await trio.sleep(1)
        exchange.upstream_began()
        await trio.sleep(2)
        exchange.queue_head(200, b"", [], length=None)
        exchange.queue_body(b"abc")
        await exchange.flush()
        await trio.sleep(4)
        exchange.queue_body(b"de")
        exchange.queue_end()
        await exchange.flush()

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nsome body"
    (line,) = await lines_of(MemoryStream(request, b""), slow)
    assert line["http.server.request.duration"] == 7
    assert line["gateway.controller.duration"] == 2
    assert line["http.request.body.size"] == 9
    assert line["http.response.body.size"] == 5


async def test_head_has_no_body() -> None:
    (line,) = await lines_of(MemoryStream(GET.replace(b"GET", b"HEAD"), b""), hello)
    assert line["http.response.body.size"] == 0


async def test_a_proxys_client_and_id() -> None:
    request = GET[:-2] + b"X-Forwarded-For: 198.51.100.9\r\nX-Request-Id: 0123456789abcdef\r\n\r\n"
    stream = MemoryStream(request, b"")
    (line,) = await lines_of(stream, hello, trusted_proxies=["192.0.2.0/24"])
    assert line["client.address"] == "198.51.100.9"
    assert line["network.peer.address"] == "192.0.2.7"
    assert line["gateway.request.id"] == "0123456789abcdef"
    assert b"X-Request-Id: 0123456789abcdef\r\n" in stream.sent


async def test_errors_have_status_and_kind() -> None:
    async def fail(exchange: Exchange) -> None:
        raise ControllerUnreachable()

    async def break_down(exchange: Exchange) -> None:
        raise LookupError

    (line,) = await lines_of(MemoryStream(GET, b""), fail)
    assert (line["http.response.status_code"], line["error.type"]) == (502, "ControllerUnreachable")
    (line,) = await lines_of(MemoryStream(GET, b""), break_down)
    assert (line["http.response.status_code"], line["error.type"]) == (500, "LookupError")


async def test_what_never_became_a_request() -> None:
    stream = MemoryStream(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"")
    (line,) = await lines_of(stream, hello)
    assert line["http.response.status_code"] == 400
    assert line["error.type"] == "RemoteProtocolError"
    assert "url.path" not in line
    assert line["gateway.request.id"].encode() in stream.sent


async def test_a_client_that_left_before_the_answer() -> None:
    async def read(exchange: Exchange) -> None:
        while await exchange.receive_body():
            pass

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nsome"
    (line,) = await lines_of(MemoryStream(request, b""), read)
    assert (line["http.response.status_code"], line["error.type"]) == (499, "ClientGone")
    assert line["http.request.body.size"] == 4


async def test_an_answer_that_was_cut_keeps_its_status() -> None:
    async def cut(exchange: Exchange) -> None:
        exchange.queue_head(200, b"", [], length=100)
        await exchange.flush()
        raise ControllerUnreachable()

    (line,) = await lines_of(MemoryStream(GET, b""), cut)
    assert (line["http.response.status_code"], line["error.type"]) == (200, "ControllerUnreachable")


async def test_an_upgrade_has_its_line_when_it_happens() -> None:
    seen: list[int] = []
    config = make_config()
    lines: list[str] = []

    async def upgrade(exchange: Exchange) -> None:
        await exchange.upgrade([(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")])
        seen.append(len(lines))  # the session has only begun
        raise RuntimeError("and ends badly")

    stream = MemoryStream(GET)
    access = AccessLog("json", write=lines.append)
    await serve_connection(stream.as_stream(), served(config, upgrade, access=access))
    assert seen == [1]
    (line,) = map(json.loads, lines)
    assert line["http.response.status_code"] == 101
    assert "error.type" not in line


@pytest.mark.parametrize("field", [b"Cookie", b"Authorization", b"Secret-Key", b"Node-Name"])
async def test_no_other_field_is_written(field: bytes) -> None:
    request = GET[:-2] + field + b": hunter2\r\n\r\n"
    (line,) = await lines_of(MemoryStream(request, b""), hello)
    assert "hunter2" not in json.dumps(line)


@pytest.mark.parametrize(
    ("requests", "statuses"), [([GET, GET], [b"200", b"200"]), ([b"broken\r\n\r\n"], [b"400"])]
)
async def test_a_line_that_cannot_be_written_ends_no_request(
    requests: list[bytes], statuses: list[bytes]
) -> None:
    def fail(_line: str) -> None:
        raise RuntimeError("made up")

    stream = MemoryStream(*requests, b"")
    config = make_config()
    with capture_logs() as logs:
        serving = served(config, hello, access=AccessLog("json", write=fail))
        await serve_connection(stream.as_stream(), serving)
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", stream.sent) == statuses
    lines = [each for each in logs if each["event"] == "internal error"]
    assert [str(line["exc_info"]) for line in lines] == ["made up"] * len(requests)
