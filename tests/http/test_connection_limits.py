"""Limits on what clients send, and what they and operators are told when one is reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.config.models import GatewayConfig
from gateway.errors import NotAuthorized
from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.serving import Handler
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served


async def hello(exchange: Exchange) -> None:
    while await exchange.receive_body():
        pass
    await exchange.respond(200, [], b"hello")


async def serve(
    stream: MemoryStream,
    handle: Handler = hello,
    *,
    config: GatewayConfig | None = None,
    **more: Any,
) -> None:
    config = make_config(limits=more) if config is None else config
    await serve_connection(stream.as_stream(), served(config, handle))


def get(*fields: bytes, path: bytes = b"/") -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % path, b"Host: a", *fields, b"", b""])


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


# -- heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 7])
async def test_431_says_what_is_too_large(pieces: int) -> None:
    request = get(b"X-Small: 1", b"Cookie: " + b"hunter2" * 300, b"Accept: */*")
    size = len(request) // pieces + 1
    stream = MemoryStream(*(request[at : at + size] for at in range(0, len(request), size)), b"")
    await serve(stream, head=1024)
    assert stream.sent.startswith(b"HTTP/1.1 431 ")
    assert (
        b"the head is too large: allowed are 1024 bytes; the largest field is Cookie" in stream.sent
    )
    assert b"hunter2" not in stream.sent


async def test_fields_without_a_plain_name_are_not_repeated() -> None:
    stream = MemoryStream(get(b"\x80hunter2" * 200), b"")
    await serve(stream, head=1024)
    assert b"allowed are 1024 bytes\r\n" in stream.sent


async def test_the_number_of_fields() -> None:
    ten = [b"X-%d: a" % i for i in range(9)]
    stream = MemoryStream(get(*ten), get(*ten, b"X: a"), b"")
    await serve(stream, header_fields=10)
    assert b"HTTP/1.1 200 " in stream.sent
    assert b"HTTP/1.1 431 " in stream.sent
    assert b"X-Gateway-Error: too many fields: allowed are 10\r\n" in stream.sent


async def test_the_request_line() -> None:
    stream = MemoryStream(get(path=b"/" + b"a" * 300), b"")
    await serve(stream, request_line=256)
    assert stream.sent.startswith(b"HTTP/1.1 414 ")
    assert b"allowed are 256 bytes" in stream.sent


async def test_a_head_near_jenkins_limit_is_logged_once_a_connection(logs: list[Any]) -> None:
    request = get(b"X-Small: 1", b"Cookie: " + b"hunter2" * 50)
    stream = MemoryStream(get(), request, request, b"")
    await serve(stream, head_warning=200)
    (line,) = logs
    assert line["event"].startswith("request head is near the 8 KiB")
    assert (line["largest_field"], line["largest_field_bytes"]) == ("Cookie", 6 + 350 + 4)
    assert line["bytes"] == len(request)
    assert "hunter2" not in str(line)


@pytest.mark.parametrize("limit", [0, 10_000])
async def test_other_heads_are_not(limit: int, logs: list[Any]) -> None:
    await serve(MemoryStream(get(b"Cookie: " + b"a" * 5000), b""), head_warning=limit)
    assert logs == []


async def test_a_slow_head(autojump_clock: MockClock) -> None:
    stream = MemoryStream(b"GET / HT")
    await serve(stream, head_timeout=4.0, linger_timeout=1.0)
    assert stream.sent.startswith(b"HTTP/1.1 408 ")
    assert 4 <= trio.current_time() < 8


async def test_an_idle_connection(autojump_clock: MockClock) -> None:
    stream = MemoryStream(get())
    await serve(stream, idle_timeout=33.0)
    assert stream.sent.count(b"HTTP/1.1 ") == 1
    assert trio.current_time() == 33


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_slow_body(autojump_clock: MockClock) -> None:
    stream = MemoryStream(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    await serve(stream, body_timeout=7.0, linger_timeout=1.0)
    assert stream.sent.startswith(b"HTTP/1.1 408 ")
    assert 7 <= trio.current_time() <= 14  # it is given a chance to read the answer


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 11", b"12345678901"),
        (b"Transfer-Encoding: chunked", b"6\r\n123456\r\n5\r\n78901\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_body_beyond_the_limit(framing: bytes, body: bytes, whole: bool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % framing
    pieces = [head + body] if whole else [head, *(body[i : i + 1] for i in range(len(body)))]
    stream = MemoryStream(*pieces, get(), b"")
    await serve(stream, body=10)
    assert stream.sent.startswith(b"HTTP/1.1 413 ")
    assert b"X-Gateway-Error: body too big: allowed are 10 bytes\r\n" in stream.sent


async def test_an_announced_body_is_refused_before_anybody_is_asked() -> None:
    async def never(exchange: Exchange) -> None:
        raise AssertionError("the handler was asked")

    stream = MemoryStream(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n", b""
    )
    await serve(stream, never, body=10)
    assert stream.sent.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close\r\n" in stream.sent


async def test_a_body_of_just_the_limit() -> None:
    stream = MemoryStream(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234567890",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"a\r\n1234567890\r\n0\r\n\r\n",
        b"",
    )
    await serve(stream, body=10)
    assert stream.sent.count(b"HTTP/1.1 200 ") == 2


# -- refusals and answers --------------------------------------------------------------------------


async def test_the_line_of_a_refused_agent_names_its_node(logs: list[Any]) -> None:
    async def refuse(exchange: Exchange) -> None:
        raise NotAuthorized()

    stream = MemoryStream(get(b"Node-Name: linux\xe9", path=b"/wsagents/"), b"")
    await serve(stream, refuse)
    (line,) = logs
    assert line["event"] == "request refused"
    assert line["node"] == "linux\xe9"


async def test_other_lines_name_none(logs: list[Any]) -> None:
    async def refuse(exchange: Exchange) -> None:
        raise NotAuthorized()

    await serve(MemoryStream(get(b"Node-Name: linux"), b""), refuse)
    (line,) = logs
    assert "node" not in line


TLS = {"certificates": [{"certificate": "a", "key": "b"}]}


@pytest.mark.parametrize(
    ("tls", "fields", "expected"),
    [
        (None, [], None),
        (TLS, [], None),
        ({**TLS, "hsts": {}}, [], b"max-age=31536000"),
        (
            {**TLS, "hsts": {"max_age": 60.0, "include_subdomains": True}},
            [],
            b"max-age=60; includeSubDomains",
        ),
        ({**TLS, "hsts": {}}, [(b"strict-transport-security", b"max-age=1")], b"max-age=1"),
    ],
)
async def test_hsts_where_it_is_asked_for(
    tls: object, fields: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.respond(404, fields)

    listener = {"address": "127.0.0.1:1", "tls": tls}
    stream = MemoryStream(get(), b"")
    await serve(stream, answer, config=make_config(listeners=[listener]))
    found = [
        line.partition(b": ")[2]
        for line in stream.sent.split(b"\r\n")
        if line.lower().startswith(b"strict-transport-security:")
    ]
    assert found == ([] if expected is None else [expected])
    assert stream.sent.lower().count(b"x-request-id: abcd-efgh\r\n") == 1
