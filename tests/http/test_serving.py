"""A reload under a connection: what it sees of it, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from gateway.http.connection import serve_connection
from gateway.http.exchange import Exchange
from gateway.http.serving import Handler, Serving
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"


def saying(text: bytes) -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.respond(200, [], b"%b for %b" % (text, exchange.client_address.encode()))

    return handle


def version(text: bytes, **config: Any) -> Callable[[], Serving]:
    return served(make_config(**config), saying(text))


class Client:
    """A client of a connection that is served by whatever ``current`` is at the moment."""

    def __init__(self, current: Callable[[], Serving], nursery: trio.Nursery) -> None:
        self.current = current
        self.stream = MemoryStream()
        self.ended = False
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        await serve_connection(self.stream.as_stream(), lambda: self.current())
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


def with_certificates_of_clients(mode: str) -> dict[str, Any]:
    return {
        "address": "127.0.0.1:8080",
        "tls": {
            "certificates": [{"certificate": "/a.crt", "key": "/a.key"}],
            "client_certificates": {"mode": mode, "ca_file": "/ca.pem"},
        },
    }


async def test_who_proved_nothing_has_to_connect_again_when_proof_is_demanded() -> None:
    async with trio.open_nursery() as nursery:
        listeners = [with_certificates_of_clients("off")]
        client = Client(version(b"old", listeners=listeners), nursery)
        assert (await client.ask()).endswith(b"old for 192.0.2.7")
        listeners = [with_certificates_of_clients("require")]
        client.current = version(b"new", listeners=listeners)
        answer = await client.ask()
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert b"Connection: close" in answer
        assert b"connect again" in answer
        assert client.ended
        later = Client(client.current, nursery)
        assert (await later.ask()).endswith(b"new for 192.0.2.7")
        nursery.cancel_scope.cancel()
