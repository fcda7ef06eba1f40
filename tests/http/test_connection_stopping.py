"""What stopping does to one client's connection, at each point of it."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing

from gateway.errors import Draining
from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.serving import Handler
from gateway.runtime.drain import Drain
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CONFIG = make_config()


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, (), b"hello")


class Client:
    """A served connection; time stands still, so that only stopping can end a wait."""

    def __init__(self, nursery: trio.Nursery, *pieces: bytes, handle: Handler = hello) -> None:
        self.drain = Drain()
        self.stream = MemoryStream(*pieces)
        self.done = False
        self._handle = handle
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        current = served(CONFIG, self._handle)
        await serve_connection(self.stream.as_stream(), current, drain=self.drain)
        self.done = True

    @property
    def answers(self) -> list[tuple[int, bool]]:
        """Return status and "the connection closes" of each answer."""
        heads = re.findall(rb"HTTP/1\.1 ([0-9]{3}) (.*?)\r\n\r\n", self.stream.sent, re.DOTALL)
        return [(int(status), b"\r\nConnection: close" in rest) for status, rest in heads]


async def test_a_connection_without_a_request_is_closed_in_order(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(nursery)
        await trio.testing.wait_all_tasks_blocked()
        client.drain.begin()
    assert client.done
    assert (client.stream.closed, client.stream.sent) == ("aclose", b"")


async def test_a_connection_between_requests_is_closed_in_order(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET)
        await trio.testing.wait_all_tasks_blocked()
        assert not client.done
        client.drain.begin()
    assert client.answers == [(200, False)]
    assert client.stream.closed == "aclose"


async def test_a_connection_that_comes_later_is_closed_at_once(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(nursery)
        client.drain.begin()
    assert client.stream.closed == "aclose"


@pytest.mark.parametrize("cut", range(1, len(GET)))
async def test_a_request_that_has_begun_is_served_as_the_last(
    cut: int, mock_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET[:cut])
        await trio.testing.wait_all_tasks_blocked()
        client.drain.begin()
        await trio.testing.wait_all_tasks_blocked()
        assert not client.done
        client.stream.feed(GET[cut:])
    assert client.answers == [(200, True)]
    assert client.stream.closed == "aclose"


async def test_a_request_being_served_is_answered_as_the_last(
    mock_clock: trio.testing.MockClock,
) -> None:
    may_answer = trio.Event()

    async def handle(exchange: Exchange) -> None:
        await may_answer.wait()
        await exchange.respond(200)

    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET, handle=handle)
        await trio.testing.wait_all_tasks_blocked()
        client.drain.begin()
        await trio.testing.wait_all_tasks_blocked()
        assert not client.done
        may_answer.set()
    assert client.answers == [(200, True)]
    assert client.stream.closed == "aclose"


async def test_an_answer_that_has_begun_is_finished_and_nothing_follows(
    mock_clock: trio.testing.MockClock,
) -> None:
    """It has promised to keep the connection: the close comes instead of another request."""
    may_go_on = trio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.queue_head(200, b"OK", (), length=2)
        await exchange.flush()
        await may_go_on.wait()
        exchange.queue_body(b"ok")
        exchange.queue_end()
        await exchange.flush()

    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET, handle=handle)
        await trio.testing.wait_all_tasks_blocked()
        client.drain.begin()
        may_go_on.set()
    assert client.answers == [(200, False)]
    assert client.stream.sent.endswith(b"ok")
    assert client.stream.closed == "aclose"


async def test_a_request_that_came_with_the_one_before_is_served_as_the_last(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Its client was promised the connection: it has sent, and nobody said that it must not."""
    seen = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal seen
        seen += 1
        await exchange.respond(200)
        if seen == 1:
            client.drain.begin()

    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET + GET + GET, b"", handle=handle)
    assert client.answers == [(200, False), (200, True)]


async def test_errors_are_the_last_answer_too(mock_clock: trio.testing.MockClock) -> None:
    async def handle(exchange: Exchange) -> None:
        client.drain.begin()
        raise Draining

    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET, handle=handle)
    assert client.answers == [(503, True)]


async def test_nothing_is_upgraded_any_more(mock_clock: trio.testing.MockClock) -> None:
    async def handle(exchange: Exchange) -> None:
        client.drain.begin()
        await exchange.upgrade([(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")])

    async with trio.open_nursery() as nursery:
        client = Client(nursery, GET, handle=handle)
    assert client.answers == [(503, True)]
    assert b"X-Gateway-Error: the gateway is shutting down, try again\r\n" in client.stream.sent
