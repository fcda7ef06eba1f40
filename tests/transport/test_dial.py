"""Tests of ``gateway.transport.dial``: what it connects to, and what its failures are called."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.config.values import Address
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.transport.dial import dial
from gateway.transport.stream import PeerAddress
from gateway.transport.tls_context import (
    ClientTls,
    pinning_client_context,
    verifying_client_context,
)
from tests import certificates

Serve = Callable[[trio.SocketStream], Awaitable[None]]

_TCP_NOTSENT_LOWAT = 25


@asynccontextmanager
async def controller(serve: Serve) -> AsyncIterator[Address]:
    """Listen on loopback and run ``serve`` for each connection; yield the address."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield Address("127.0.0.1", listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


def speaks_tls(seen: list[str | None], *names: str) -> Serve:
    """Return a controller with a certificate for ``names``; it echoes one message.

    The server name that the client asked for is put into ``seen``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.issue(*names).configure_cert(context)
    context.sni_callback = lambda _, name, __: seen.append(name)

    async def serve(connection: trio.SocketStream) -> None:
        stream = trio.SSLStream(connection, context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):  # the client did not like us
            await stream.send_all(await stream.receive_some())

    return serve


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests' authority the only one that the system trusts."""
    path = tmp_path / "authority.pem"
    certificates.authority().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))


class Resolver(trio.abc.HostnameResolver):
    """Answers every name in the same way; ``addresses`` None means never."""

    def __init__(self, addresses: list[str] | None) -> None:
        self._addresses = addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if self._addresses is None:
            await trio.sleep_forever()
        if not self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in self._addresses]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError


async def echo(connection: trio.SocketStream) -> None:
    await connection.send_all(await connection.receive_some())


# -- plain -----------------------------------------------------------------------------------------


async def test_plain() -> None:
    async with controller(echo) as address:
        stream = await dial(address, timeout=5)
        assert stream.peer == PeerAddress("127.0.0.1", address.port)
        assert stream.tls is None
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await stream.aclose()


async def test_every_address_of_a_name_is_tried() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(["127.0.0.2", "127.0.0.1"]))
    async with controller(echo) as address:
        stream = await dial(Address("jenkins.test", address.port), timeout=5)
        assert stream.peer.host == "127.0.0.1"
        await stream.aclose()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_nobody_listens() -> None:
    port = closed_port()
    with pytest.raises(ControllerUnreachable) as caught:
        await dial(Address("127.0.0.1", port), timeout=5)
    assert caught.value.detail == f"127.0.0.1:{port}: connection refused"
    assert "127.0.0.1" not in caught.value.public


async def test_a_name_that_does_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver([]))
    with pytest.raises(ControllerUnreachable) as caught:
        await dial(Address("jenkins.test", 80), timeout=5)
    assert caught.value.detail == "jenkins.test:80: name does not resolve"


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "ü" * 70, "\udcff"])
async def test_a_name_that_is_none(host: str) -> None:
    """Discovery documents name hosts, and may name anything."""
    with pytest.raises(ControllerUnreachable, match="name does not resolve"):
        await dial(Address(host, 80), timeout=5)


async def test_a_resolver_that_does_not_answer(autojump_clock: MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(None))
    with pytest.raises(ControllerTimeout) as caught:
        await dial(Address("jenkins.test", 80), timeout=5)
    assert trio.current_time() == 5
    assert caught.value.detail == "jenkins.test:80 within 5 s"


async def test_cancellation_passes(autojump_clock: MockClock) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(None))
    with trio.move_on_after(1) as scope:
        await dial(Address("jenkins.test", 80), timeout=5)
    assert scope.cancelled_caught


# -- TLS -------------------------------------------------------------------------------------------


def verifying(name: str | None, *, verify: bool = True) -> ClientTls:
    return ClientTls(verifying_client_context(), name, verify=verify)


@pytest.mark.usefixtures("trusted")
async def test_tls_with_a_trusted_certificate() -> None:
    seen: list[str | None] = []
    async with controller(speaks_tls(seen, "jenkins.test")) as address:
        stream = await dial(address, timeout=5, tls=verifying("jenkins.test"))
        assert stream.tls is not None
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await stream.aclose()
    assert seen == ["jenkins.test"]


@pytest.mark.usefixtures("trusted")
async def test_tls_with_an_ip_address() -> None:
    """It is checked, but is no server name (RFC 6066 section 3): Jetty answers 400 to one."""
    seen: list[str | None] = []
    async with controller(speaks_tls(seen, "127.0.0.1")) as address:
        stream = await dial(address, timeout=5, tls=verifying("127.0.0.1"))
        await stream.aclose()
    assert seen == [None]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("name", ["other.test", "test", "jenkins.test.evil", "127.0.0.1"])
async def test_a_certificate_for_another_name(name: str) -> None:
    async with controller(speaks_tls([], "jenkins.test")) as address:
        with pytest.raises(ControllerUnreachable) as caught:
            await dial(address, timeout=5, tls=verifying(name))
        assert caught.value.detail == f"{address}: the certificate is not for {name}"


@pytest.mark.usefixtures("trusted")
async def test_another_ip_address() -> None:
    async with controller(speaks_tls([], "127.0.0.2")) as address:
        with pytest.raises(ControllerUnreachable, match=r"the certificate is not for 127\.0\.0\.1"):
            await dial(address, timeout=5, tls=verifying("127.0.0.1"))


@pytest.mark.usefixtures("trusted")
async def test_a_wildcard_certificate() -> None:
    async with controller(speaks_tls([], "*.ci.test")) as address:
        stream = await dial(address, timeout=5, tls=verifying("jenkins.ci.test"))
        await stream.aclose()
        with pytest.raises(ControllerUnreachable, match="is not for"):
            await dial(address, timeout=5, tls=verifying("a.jenkins.ci.test"))


async def test_an_unknown_authority() -> None:
    async with controller(speaks_tls([], "jenkins.test")) as address:
        with pytest.raises(ControllerUnreachable, match="certificate verify failed"):
            await dial(address, timeout=5, tls=verifying("jenkins.test"))


async def test_without_verification_any_certificate_will_do() -> None:
    tls = ClientTls(pinning_client_context(), "jenkins.test", verify=False)
    async with controller(speaks_tls([], "other.test")) as address:
        stream = await dial(address, timeout=5, tls=tls)
        await stream.aclose()


async def test_a_controller_that_speaks_something_else() -> None:
    async def http(connection: trio.SocketStream) -> None:
        await connection.receive_some()
        await connection.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with controller(http) as address:
        with pytest.raises(ControllerUnreachable, match="TLS: "):
            await dial(address, timeout=5, tls=verifying("jenkins.test"))


async def test_a_controller_that_says_nothing_to_tls() -> None:
    """The one deadline covers the handshake; the connection is not left behind."""
    closed = trio.Event()

    async def silent(connection: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while await connection.receive_some():
                pass
        closed.set()

    async with controller(silent) as address:
        with pytest.raises(ControllerTimeout, match=r"within 0\.2 s"):
            await dial(address, timeout=0.2, tls=verifying("jenkins.test"))
        await closed.wait()


async def test_a_cancelled_dial_leaves_no_connection_behind() -> None:
    closed = trio.Event()
    accepted = trio.Event()

    async def silent(connection: trio.SocketStream) -> None:
        accepted.set()
        with contextlib.suppress(trio.BrokenResourceError):
            while await connection.receive_some():
                pass
        closed.set()

    async with controller(silent) as address:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: dial(address, timeout=50, tls=verifying("jenkins.test")))
            await accepted.wait()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await closed.wait()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_greeting_comes_first(*, encrypted: bool) -> None:
    received = bytearray()
    served = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        while len(received) < len(b"PROXY ?\x16"):
            received.extend(await stream.receive_some())
        served.set()

    async with controller(serve) as address:
        tls = ClientTls(pinning_client_context(), None, verify=False)
        if not encrypted:
            stream = await dial(address, timeout=5.0, greeting=b"PROXY ?")
            await stream.send_all(b"\x16")
            await stream.aclose()
        else:
            with pytest.raises(ControllerUnreachable):  # nobody shakes hands there
                await dial(address, timeout=5.0, tls=tls, greeting=b"PROXY ?")
        await served.wait()
    assert received.startswith(b"PROXY ?\x16")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_by_name_and_by_address(host: str) -> None:
    async with controller(_say_hello) as address:
        stream = await dial(Address(host, address.port), timeout=5.0)
        assert await stream.receive_some() == b"hello"
        assert stream._socket.getsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT) == 1024 * 1024
        await stream.aclose()


async def _say_hello(stream: trio.SocketStream) -> None:
    await stream.send_all(b"hello")


async def test_an_ipv6_address() -> None:
    listener = trio.socket.socket(socket.AF_INET6)
    try:
        await listener.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    listener.listen()
    try:
        stream = await dial(Address("::1", listener.getsockname()[1]), timeout=5.0)
        assert stream.peer.host == "::1"
        stream.abort()
    finally:
        listener.close()
