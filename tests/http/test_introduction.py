"""Introducing clients to a controller by the PROXY protocol, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gateway.http.upstream import Upstream
from gateway.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader
from tests.http.serving import make_config, start_proxy
from tests.peers.raw_client import RawClient
from tests.peers.raw_origin import OriginConnection, RawOrigin

GET = b"GET / HTTP/1.1\r\nHost: ci.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Introduced:
    """An origin that reads a header from every connection, then answers whatever is asked."""

    def __init__(self) -> None:
        self.headers: list[ProxyHeader] = []
        self.origin = RawOrigin(self._script)

    async def _script(self, connection: OriginConnection) -> None:
        reader = ProxyHeaderReader()
        header = None
        while header is None:
            if not await connection.receive():
                return
            header = reader.receive_data(bytes(connection.buffer))
            connection.buffer[:] = reader.trailing_data if header is not None else b""
        self.headers.append(header)
        while connection.buffer or await connection.receive():
            await connection.read_request()
            await connection.send(OK)


@asynccontextmanager
async def introduced(**config: Any) -> AsyncIterator[tuple[Introduced, int]]:
    it = Introduced()
    async with trio.open_nursery() as nursery:
        await nursery.start(it.origin.run)
        controller = {"proxy_protocol": "v2"}
        port = await start_proxy(nursery, it.origin.port, controller=controller, **config)
        yield it, port
        nursery.cancel_scope.cancel()


async def test_a_client_is_named() -> None:
    async with introduced() as (it, port), await RawClient.connect(port) as client:
        assert (await client.ask(GET)).body == b"ok"
        (header,) = it.headers
        assert isinstance(client.stream, trio.SocketStream)
        assert header.source is not None
        assert header.destination is not None
        assert (header.source.host, header.source.port) == client.stream.socket.getsockname()
        assert (header.destination.host, header.destination.port) == ("127.0.0.1", port)


async def test_a_connection_serves_one_request() -> None:
    """Another client's would come under the wrong name."""
    async with introduced() as (it, port):
        async with await RawClient.connect(port) as one, await RawClient.connect(port) as other:
            for client in (one, other, one):
                assert (await client.ask(GET)).status == 200
        sources = [header.source for header in it.headers]
        assert sources[0] == sources[2] != sources[1]


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::7"])
async def test_behind_a_trusted_proxy_the_client_has_no_port(client: str) -> None:
    async with introduced(trusted_proxies=["127.0.0.1"]) as (it, port):
        async with await RawClient.connect(port) as connection:
            field = f"X-Forwarded-For: {client}\r\n\r\n".encode()
            assert (await connection.ask(GET[:-2] + field)).status == 200
        assert it.headers[0].source is not None
        assert (it.headers[0].source.host, it.headers[0].source.port) == (client, 0)


async def test_the_gateways_own_connections_say_so() -> None:
    it = Introduced()
    async with trio.open_nursery() as nursery:
        await nursery.start(it.origin.run)
        url = f"http://127.0.0.1:{it.origin.port}/"
        controller = make_config(url, controller={"proxy_protocol": "v2"}).controllers["main"]
        head, _ = await Upstream("main", controller).fetch("/login")
        assert head.status == 200
        assert it.headers == [ProxyHeader(local=True)]
        nursery.cancel_scope.cancel()


async def test_nobody_is_introduced_unless_asked_for() -> None:
    origin = RawOrigin(_plain)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        port = await start_proxy(nursery, origin.port)
        async with await RawClient.connect(port) as client:
            assert (await client.ask(GET)).status == 200
        assert origin.requests[0].line == b"GET / HTTP/1.1"
        nursery.cancel_scope.cancel()


async def _plain(connection: OriginConnection) -> None:
    await connection.read_request()
    await connection.send(OK)
