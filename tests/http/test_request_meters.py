"""What is counted of requests: labels that are known, whatever clients send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import ControllerTimeout
from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.request_meters import RequestMeters
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import (
    REQUEST_BYTES,
    REQUEST_DURATION,
    REQUEST_ERRORS,
    REQUESTS,
)
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served


async def counted(*requests: bytes, handle: Any = None) -> Samples:
    async def hello(exchange: Exchange) -> None:
        while await exchange.receive_body():
            pass
        await exchange.respond(200, [], b"hello")

    meters = Meters()
    serving = replace(served(make_config(), handle or hello)(), meters=RequestMeters(meters))
    await serve_connection(MemoryStream(*requests, b"").as_stream(), lambda: serving)
    samples = Samples()
    meters.add_to(samples)
    return samples


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_requests_by_route_and_code_with_their_bodies() -> None:
    post = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    found = await counted(GET, GET, post)
    assert found.of(REQUESTS) == {
        ("main", "main", "GET", "200"): 2,
        ("main", "main", "POST", "200"): 1,
    }
    histogram = found.of(REQUEST_DURATION)["main", "main"]
    assert isinstance(histogram, Histogram)
    assert sum(histogram.counts) == 3
    assert found.of(REQUEST_BYTES) == {
        ("main", "main", "from_client"): 3,
        ("main", "main", "to_client"): 15,
    }
    assert found.of(REQUEST_ERRORS) == {}


async def test_errors_have_the_name_of_their_row() -> None:
    async def late(exchange: Exchange) -> None:
        raise ControllerTimeout

    found = await counted(GET, handle=late)
    assert found.of(REQUESTS) == {("main", "main", "GET", "504"): 1}
    assert found.of(REQUEST_ERRORS) == {("main", "main", "controller_timeout"): 1}


async def test_bugs_are_counted_too() -> None:
    async def broken(exchange: Exchange) -> None:
        raise ValueError("a bug")

    found = await counted(GET, handle=broken)
    assert found.of(REQUESTS) == {("main", "main", "GET", "500"): 1}
    assert found.of(REQUEST_ERRORS) == {("main", "main", "internal_error"): 1}


@pytest.mark.parametrize("status", [299, 799])
async def test_codes_that_nobody_registered(status: int) -> None:
    async def odd(exchange: Exchange) -> None:
        await exchange.respond(status, [], b"")

    assert set((await counted(GET, handle=odd)).of(REQUESTS)) == {("main", "main", "GET", "other")}


async def test_methods_that_strangers_make_up() -> None:
    requests = [b"M%d / HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(5)]
    found = await counted(*requests)
    assert {labels[2] for labels in found.of(REQUESTS)} == {"other"}


async def test_what_is_no_request() -> None:
    found = await counted(b"\x00\r\n\r\n")
    assert found.of(REQUESTS) == {("", "", "other", "400"): 1}
    assert found.of(REQUEST_ERRORS) == {("", "", "remote_protocol_error"): 1}
