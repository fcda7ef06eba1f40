"""PROXY headers on a listener: whom to believe, how long to wait, and what follows untouched."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.config.models import ListenerConfig, TlsConfig
from gateway.config.networks import Network
from gateway.config.values import Address
from gateway.protocol.proxy_protocol import Endpoint, write_local_header, write_proxy_header
from gateway.transport.listeners import BoundListener, Terms, accept_forever, bind
from gateway.transport.proxied import PROXY_HEADER_TIMEOUT
from gateway.transport.stream import UNKNOWN, PeerAddress, Stream
from tests import certificates

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SOURCE, DESTINATION = Endpoint("192.0.2.7", 51000), Endpoint("198.51.100.1", 443)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
V2 = write_proxy_header(SOURCE, DESTINATION)


@dataclass
class Listening:
    """A listener at work, and what became of its connections."""

    port: int
    handled: list[tuple[PeerAddress, PeerAddress]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    clients: list[trio.SocketStream] = field(default_factory=list)

    async def connect(self) -> trio.SocketStream:
        client = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.clients.append(client)
        return client


@asynccontextmanager
async def listening(
    tls: TlsConfig | None = None, *, trusted: Sequence[Network] = LOOPBACK
) -> AsyncIterator[Listening]:
    config = ListenerConfig(
        address=Address("127.0.0.1", 0), tls=tls, proxy_protocol="required", plain_agents=False
    )
    listener = BoundListener(config, trio.socket.from_stdlib_socket(bind(config)))
    it = Listening(listener.port)

    async def echo(stream: Stream, terms: Terms) -> None:
        it.handled.append((stream.peer, stream.local_address()))
        while data := await stream.receive_some():
            await stream.send_all(data)

    terms = Terms.of(config, handshake_timeout=10.0, proxies=trusted)

    async def accept(nursery: trio.Nursery) -> None:
        await accept_forever(
            listener,
            echo,
            nursery,
            handshake_failed=lambda _, problem: it.problems.append(f"tls: {problem}"),
            introduction_failed=lambda _, problem: it.problems.append(problem),
            terms=lambda: terms,
        )

    with listener.socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            yield it
            nursery.cancel_scope.cancel()
    for client in it.clients:
        client.socket.close()


async def ended(client: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        assert await client.receive_some() == b""


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_address_takes_the_peers_place(header: bytes) -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(header + b"hello")
        assert await client.receive_some() == b"hello"
        peer, local = it.handled[0]
        assert str(peer) == "192.0.2.7:51000"
        assert str(local) == "198.51.100.1:443"


async def test_a_header_in_pieces() -> None:
    async with listening() as it:
        client = await it.connect()
        for i in range(len(V2)):
            await client.send_all(V2[i : i + 1])
            await wait_all_tasks_blocked()
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"


@pytest.mark.parametrize("together", [False, True])
async def test_tls_comes_after_it(tmp_path: Path, *, together: bool) -> None:
    """Also where the ClientHello shares its segment."""
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        client = await it.connect()
        if not together:
            await client.send_all(V2)
        transport = _Prefixed(client, V2 if together else b"")
        tls = trio.SSLStream(transport, certificates.client_context(), server_hostname="localhost")
        await tls.send_all(b"hello")
        assert await tls.receive_some() == b"hello"
        assert it.handled[0][0].host == "192.0.2.7"
        assert it.problems == []


class _Prefixed(trio.abc.Stream):
    """Puts bytes in front of the first send."""

    def __init__(self, inner: trio.SocketStream, prefix: bytes) -> None:
        self._inner = inner
        self._prefix = prefix

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        prefix, self._prefix = self._prefix, b""
        await self._inner.send_all(prefix + bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_balancers_own_connection_keeps_its_address() -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(write_local_header() + b"x")
        assert await client.receive_some() == b"x"
        peer, local = it.handled[0]
        assert peer.host == "127.0.0.1"
        assert (local.host, local.port) == ("127.0.0.1", it.port)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", write_proxy_header(None, None)])
async def test_an_unknown_client_does_not_borrow_the_balancers_trust(header: bytes) -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(header + b"x")
        assert await client.receive_some() == b"x"
        assert it.handled == [(UNKNOWN, UNKNOWN)]


@pytest.mark.parametrize("trusted", [(), (ipaddress.ip_network("10.0.0.0/8"),)])
async def test_strangers_are_not_believed(trusted: Sequence[Network]) -> None:
    async with listening(trusted=trusted) as it:
        client = await it.connect()
        await ended(client)
        assert it.problems == [
            "a PROXY header is required here, and the peer is not in trusted_proxies"
        ]
        assert it.handled == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PROXY TCP4 x\r\n"])
async def test_what_is_no_header_ends_the_connection(data: bytes) -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(data)
        await ended(client)
        assert "PROXY" in it.problems[0]
        assert it.handled == []


async def test_a_health_check_that_only_connects() -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_eof()
        await ended(client)
        assert it.problems == ["closed before its PROXY header was complete"]


async def test_the_header_has_five_seconds(mock_clock: MockClock) -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(V2[:-1])
        await wait_all_tasks_blocked()
        mock_clock.jump(PROXY_HEADER_TIMEOUT - 0.1)
        await wait_all_tasks_blocked()
        assert it.problems == []
        mock_clock.jump(0.2)
        await ended(client)
        assert it.problems == ["no PROXY header within 5 s"]


async def test_a_listener_without_it_takes_the_header_for_data() -> None:
    config = ListenerConfig(address=Address("127.0.0.1", 0))
    listener = BoundListener(config, trio.socket.from_stdlib_socket(bind(config)))
    received: list[tuple[str, bytes]] = []
    done = trio.Event()

    async def once(stream: Stream, terms: Terms) -> None:
        received.append((stream.peer.host, await stream.receive_some()))
        done.set()

    with listener.socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_accept_plain, listener, once, nursery)
            client = await trio.open_tcp_stream("127.0.0.1", listener.port)
            await client.send_all(V1)
            await done.wait()
            client.socket.close()
            nursery.cancel_scope.cancel()
    assert received == [("127.0.0.1", V1)]


async def _accept_plain(listener: BoundListener, handle: object, nursery: trio.Nursery) -> None:
    assert callable(handle)
    await accept_forever(
        listener,
        handle,
        nursery,
        terms=lambda: Terms.of(listener.config, handshake_timeout=10.0, proxies=LOOPBACK),
        handshake_failed=lambda *_: None,
    )
