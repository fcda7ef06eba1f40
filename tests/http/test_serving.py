"""A reload under a connection: what it sees of it, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.serving import Handler, Serving
from gateway.transport.tls_context import ClientDemand
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"


def saying(text: bytes) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.respond(200, [], b"%b for %b" % (text, exchange.client_address.encode()))

    return handle


def version(
    text: bytes, *, demand: ClientDemand | None = None, **config: Any
) -> Callable[[], Serving]:
    return served(make_config(**config), saying(text), demand=demand)


class Client:
    """A client of a connection that is served by whatever ``current`` is at the moment."""

    def __init__(
        self,
        current: Callable[[], Serving],
        nursery: trio.Nursery,
        proved: ClientDemand | None = None,
    ) -> None:
        self._proved = proved
        self.current = current
        self.stream = MemoryStream()
        self.ended = False
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        await serve_connection(self.stream.as_stream(), lambda: self.current(), proved=self._proved)
        self.ended = True

    async def ask(self, data: bytes = GET) -> bytes:
        before = len(self.stream.sent)
        self.stream.feed(data)
        await trio.testing.wait_all_tasks_blocked()
        return bytes(self.stream.sent[before:])


async def test_the_next_request_sees_the_new_one() -> None:
    async with trio.open_nursery() as nursery:
        client = Client(version(b"old"), nursery)
        assert (await client.ask()).endswith(b"old for 192.0.2.7")
        client.current = version(b"new", trusted_proxies=["192.0.2.0/24"])
        assert (await client.ask()).endswith(b"new for 198.51.100.9")
        client.current = version(b"newer", limits={"head": "1KiB"})
        assert (await client.ask()).endswith(b"newer for 192.0.2.7")
        assert b" 431 " in await client.ask(GET[:-2] + b"X: " + b"x" * 2000 + b"\r\n\r\n")
        nursery.cancel_scope.cancel()


async def test_a_request_under_way_keeps_the_old_one() -> None:
    may_answer = trio.Event()

    async def slowly(exchange: Exchange) -> None:
        await may_answer.wait()
        await saying(b"old")(exchange)

    async with trio.open_nursery() as nursery:
        client = Client(served(make_config(), slowly), nursery)
        assert await client.ask() == b""
        client.current = version(b"new")
        may_answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert bytes(client.stream.sent).endswith(b"old for 192.0.2.7")
        assert (await client.ask()).endswith(b"new for 192.0.2.7")
        nursery.cancel_scope.cancel()


OLD, NEW = ClientDemand("require", b"old"), ClientDemand("require", b"new")


@pytest.mark.parametrize(
    ("proved", "demand"), [(None, NEW), (OLD, NEW), (ClientDemand("optional", b"new"), NEW)]
)
async def test_who_proved_something_else_has_to_connect_again(
    proved: ClientDemand | None, demand: ClientDemand
) -> None:
    async with trio.open_nursery() as nursery:
        client = Client(version(b"old", demand=proved), nursery, proved)
        assert (await client.ask()).endswith(b"old for 192.0.2.7")
        client.current = version(b"new", demand=demand)
        answer = await client.ask()
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert b"Connection: close" in answer
        assert b"connect again" in answer
        assert client.ended
        later = Client(client.current, nursery, demand)
        assert (await later.ask()).endswith(b"new for 192.0.2.7")
        nursery.cancel_scope.cancel()


async def test_a_handshake_before_the_demand_has_proved_nothing() -> None:
    """The demand came while it was under way: not even the first request is served."""
    async with trio.open_nursery() as nursery:
        client = Client(version(b"new", demand=NEW), nursery, None)
        assert (await client.ask()).startswith(b"HTTP/1.1 421 ")
        assert client.ended
        nursery.cancel_scope.cancel()
