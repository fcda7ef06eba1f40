"""Tests of ``gateway.transport.listeners``: accepting. Binding is in ``test_listeners_binding``."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from OpenSSL import SSL
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.config.models import ListenerConfig, TlsConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.transport.listeners import (
    BoundListener,
    Terms,
    accept_forever,
    bind,
)
from gateway.transport.stream import Stream, StreamBroken
from gateway.transport.tls import TlsEngine
from tests import certificates
from tests.shortage import no_descriptors


def plain() -> Terms:
    return Terms(None)


@dataclass
class Listening:
    """A listener at work, and what became of its connections."""

    listener: BoundListener
    terms: Terms
    handled: list[Stream] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _failed: trio.Event = field(default_factory=trio.Event)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.listener.port)

    async def connect_tls(self, server_name: str | None) -> trio.SSLStream[trio.SocketStream]:
        """Connect and have something echoed, which is when the handler surely runs."""
        context = certificates.client_context()
        if server_name is None:
            context.check_hostname = False
        transport = await self.connect()
        stream = trio.SSLStream(
            transport, context, server_hostname=server_name, https_compatible=True
        )
        try:
            await stream.send_all(b"?")
            assert await stream.receive_some() == b"?"
        except BaseException:
            transport.socket.close()
            raise
        return stream

    def fail(self, stream: Stream, problem: str) -> None:
        self.failures.append(problem)
        self._failed.set()

    async def failed(self) -> str:
        """Wait for the first failed handshake."""
        await self._failed.wait()
        return self.failures[0]


def config_of(tls: TlsConfig | None = None, address: str = "127.0.0.1:0") -> ListenerConfig:
    return ListenerConfig(address=Address.parse(address), tls=tls)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def handle(stream: Stream, terms: Terms) -> None:
    await echo(stream)


@asynccontextmanager
async def listening(
    tls: TlsConfig | None = None,
    *,
    handle: Callable[[Stream], Awaitable[None]] = echo,
    handshake_timeout: float = 10.0,
    handshaking: Callable[[], AbstractContextManager[object]] = nullcontext,
    **more: Any,
) -> AsyncIterator[Listening]:
    sock = trio.socket.from_stdlib_socket(bind(config_of(tls)))
    terms = Terms.of(config_of(tls), handshake_timeout=handshake_timeout, proxies=())
    it = Listening(BoundListener(config_of(tls), sock), terms)

    async def recorded(stream: Stream, terms: Terms) -> None:
        it.handled.append(stream)
        await handle(stream)

    async def accept(nursery: trio.Nursery) -> None:
        await accept_forever(
            it.listener,
            recorded,
            nursery,
            handshake_failed=it.fail,
            terms=lambda: it.terms,
            handshaking=handshaking,
            **more,
        )

    with sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, nursery)
            yield it
            nursery.cancel_scope.cancel()


# -- plain and TLS ---------------------------------------------------------------------------------


async def test_plain() -> None:
    async with listening() as it:
        client = await it.connect()
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        (stream,) = it.handled
        assert stream.tls is None
        assert stream.peer.port == client.socket.getsockname()[1]
        await client.aclose()


async def test_tls(tmp_path: Path) -> None:
    taken: list[float] = []
    config = certificates.tls_config(tmp_path, "localhost")
    async with listening(config, secured=taken.append) as it:
        client = await it.connect_tls("localhost")
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        (stream,) = it.handled
        assert stream.tls is not None
        assert stream.tls.server_name == "localhost"
        assert it.failures == []
        assert len(taken) == 1
        assert 0 < taken[0] < 10
        await client.aclose()


async def test_sni_chooses_the_certificate(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, "first.test", "second.test", "*.third.test")
    async with listening(config) as it:
        for name in ("second.test", "first.test", "any.third.test"):
            await (await it.connect_tls(name)).aclose()  # the client checks the name
        with pytest.raises(trio.BrokenResourceError) as caught:
            await it.connect_tls("elsewhere.test")
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert await it.failed() == "connection closed during the TLS handshake"


async def test_a_client_without_sni_gets_the_first(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, "first.test", "second.test")
    async with listening(config) as it:
        client = await it.connect_tls(None)
        certificate = client.getpeercert()
        assert certificate["subjectAltName"] == (("DNS", "first.test"),)
        assert it.handled[0].tls is not None
        assert it.handled[0].tls.server_name is None
        await client.aclose()


async def test_files_are_read_when_terms_are_made(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, "localhost")
    async with listening(config) as it:
        for pair in config.certificates:
            pair.certificate.unlink()
            pair.key.unlink()
        await (await it.connect_tls("localhost")).aclose()


async def test_other_terms_are_for_new_connections(tmp_path: Path) -> None:
    old = certificates.tls_config(tmp_path, "localhost")
    new = certificates.tls_config(tmp_path, "new.test")
    async with listening(old) as it:
        kept = await it.connect_tls("localhost")
        it.terms = Terms.of(config_of(new), handshake_timeout=10.0, proxies=())
        later = await it.connect_tls("new.test")
        assert kept.getpeercert()["subjectAltName"] == (("DNS", "localhost"),)
        assert later.getpeercert()["subjectAltName"] == (("DNS", "new.test"),)
        await kept.send_all(b"!")
        assert await kept.receive_some() == b"!"
        await kept.aclose()
        await later.aclose()


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, "localhost")
    config.certificates[0].key.write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be used"):
        Terms.of(config_of(config), handshake_timeout=10.0, proxies=())


# -- handshakes that fail --------------------------------------------------------------------------


async def test_old_versions_are_refused_and_told(tmp_path: Path) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        client = Stream((await it.connect()).socket)
        with pytest.raises(StreamBroken, match="alert protocol version"):
            await client.start_tls(TlsEngine(context, server_side=False))
        assert "unsupported protocol" in await it.failed()
        client.abort()
        assert it.handled == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /wsagents/ HTTP/1.1\r\nSecret-Key: hunter2\r\n\r\n",
        b"\x00\x16Protocol:JNLP4-connect",
        bytes(5000),
    ],
)
async def test_garbage_is_reported_and_closed(tmp_path: Path, garbage: bytes) -> None:
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        client = await it.connect()
        await client.send_all(garbage)
        answer = b""
        while piece := await client.receive_some():
            answer += piece
        assert not answer or answer[0] == 21  # an alert, or nothing
        problem = await it.failed()
        assert problem.startswith("TLS: ")
        assert "hunter2" not in problem
        await client.aclose()
        # The next one is served.
        await (await it.connect_tls("localhost")).aclose()
        assert len(it.handled) == 1


async def test_a_client_that_leaves_is_reported(tmp_path: Path) -> None:
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        await (await it.connect()).aclose()
        assert await it.failed() == "connection closed during the TLS handshake"


async def test_a_client_that_resets_is_survived(tmp_path: Path) -> None:
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        client = await it.connect()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        assert await it.failed()
        await (await it.connect_tls("localhost")).aclose()


@pytest.mark.parametrize("drip", [False, True])
async def test_a_slow_handshake_is_cut_off(
    tmp_path: Path, autojump_clock: MockClock, drip: bool
) -> None:
    """Whether the client says nothing, or a byte every now and then."""
    autojump_clock.autojump_threshold = 0.05  # real sockets are in play
    config = certificates.tls_config(tmp_path, "localhost")
    async with listening(config, handshake_timeout=7.0) as it:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            client = await it.connect()

            @nursery.start_soon
            async def talk() -> None:
                for byte in b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03" if drip else b"":
                    await client.send_all(bytes((byte,)))
                    await trio.sleep(2)

            try:
                assert await client.receive_some() == b""
            except trio.BrokenResourceError:
                assert drip  # closed with a byte unread
            assert trio.current_time() - started == pytest.approx(7.0, abs=0.5)
            nursery.cancel_scope.cancel()
        assert it.failures == ["no TLS handshake within 7 s"]
        assert it.handled == []
        await client.aclose()


async def test_a_hanging_handshake_holds_nobody_up(tmp_path: Path) -> None:
    async with listening(certificates.tls_config(tmp_path, "localhost")) as it:
        hanging = [await it.connect() for _ in range(5)]
        await (await it.connect_tls("localhost")).aclose()
        for client in hanging:
            await client.aclose()


async def test_handshakes_are_done_inside_what_is_handed_in(tmp_path: Path) -> None:
    """So that a shutdown can cut them short; what is served already goes on."""
    scopes: list[trio.CancelScope] = []
    both = trio.Event()

    def handshaking() -> trio.CancelScope:
        scopes.append(trio.CancelScope())
        if len(scopes) == 2:
            both.set()
        return scopes[-1]

    config = certificates.tls_config(tmp_path, "localhost")
    async with listening(config, handshaking=handshaking) as it:
        served = await it.connect_tls("localhost")
        hanging = await it.connect()
        await hanging.send_all(b"\x16")
        await both.wait()
        for scope in scopes:
            scope.cancel()
        assert await hanging.receive_some() == b""
        await served.send_all(b"still here")
        assert await served.receive_some() == b"still here"
        assert len(it.handled) == 1
        await hanging.aclose()
        await served.aclose()


# -- handlers --------------------------------------------------------------------------------------


async def test_a_connection_ends_with_its_handler() -> None:
    async def hello(stream: Stream) -> None:
        await stream.send_all(b"hello")

    async with listening(handle=hello) as it:
        client = await it.connect()
        assert await client.receive_some() == b"hello"
        assert await client.receive_some() == b""
        await client.aclose()


async def test_what_a_handler_raises_is_the_handlers() -> None:
    """It must catch what is its own; a bug is not hidden here."""

    async def buggy(stream: Stream) -> None:
        raise LookupError("bug")

    async def connect() -> None:
        async with listening(handle=buggy) as it, await it.connect():
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await connect()
    assert caught.group_contains(LookupError, match="bug")


async def test_connections_outlive_the_accepting() -> None:
    """Accepting stops first when a worker shuts down; handlers have a nursery of their own."""
    sock = trio.socket.from_stdlib_socket(bind(config_of()))
    listener = BoundListener(config_of(), sock)
    async with trio.open_nursery() as handlers:
        with trio.CancelScope() as accepting:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def accept() -> None:
                    await accept_forever(
                        listener, handle, handlers, terms=plain, handshake_failed=lambda *_: None
                    )

                client = await trio.open_tcp_stream("127.0.0.1", listener.port)
                await client.send_all(b"one")
                assert await client.receive_some() == b"one"
                accepting.cancel()
        await client.send_all(b"two")
        assert await client.receive_some() == b"two"
        await client.aclose()
    sock.close()


# -- binding ---------------------------------------------------------------------------------------


async def test_the_port_is_the_real_one() -> None:
    with trio.socket.from_stdlib_socket(bind(config_of())) as sock:
        assert BoundListener(config_of(), sock).port == sock.getsockname()[1] > 0


async def test_nobody_is_accepted_before_the_loop_runs() -> None:
    """Listening starts with ``bind``: clients wait in the backlog meanwhile."""
    sock = trio.socket.from_stdlib_socket(bind(config_of()))
    listener = BoundListener(config_of(), sock)
    client = await trio.open_tcp_stream("127.0.0.1", listener.port)
    await client.send_all(b"early")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept() -> None:
            await accept_forever(
                listener, handle, nursery, terms=plain, handshake_failed=lambda *_: None
            )

        assert await client.receive_some() == b"early"
        await client.aclose()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    sock.close()


async def test_the_handler_is_told_the_terms_of_the_accepting(tmp_path: Path) -> None:
    """Not those in force when the handshake is done: what it has proved is what they demanded."""
    told: list[Terms] = []
    tls = certificates.tls_config(tmp_path, "localhost")
    listener = BoundListener(config_of(tls), trio.socket.from_stdlib_socket(bind(config_of(tls))))
    first, second = (
        Terms.of(listener.config, handshake_timeout=10.0, proxies=()) for _ in range(2)
    )
    in_force = [first]
    taken = trio.Event()

    def terms() -> Terms:
        taken.set()
        return in_force[0]

    async def remember(stream: Stream, agreed: Terms) -> None:
        told.append(agreed)
        await echo(stream)

    with listener.socket:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def accept() -> None:
                await accept_forever(
                    listener, remember, nursery, terms=terms, handshake_failed=lambda *_: None
                )

            transport = await trio.open_tcp_stream("127.0.0.1", listener.port)
            await taken.wait()
            in_force[0] = second
            client = trio.SSLStream(
                transport, certificates.client_context(), server_hostname="localhost"
            )
            await client.do_handshake()
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            await trio.aclose_forcefully(client)
            nursery.cancel_scope.cancel()
    assert [agreed is first for agreed in told] == [True]


async def test_who_comes_while_descriptors_are_short_waits() -> None:
    told: list[str] = []
    enough = trio.Event()

    def note(reason: str) -> None:
        told.append(reason)
        enough.set()

    async with listening(short_of=note) as it:
        await wait_all_tasks_blocked()
        transport = trio.socket.socket()
        with no_descriptors():
            await transport.connect(("127.0.0.1", it.listener.port))
            await enough.wait()
            assert it.handled == []
        client = trio.SocketStream(transport)
        await client.send_all(b"hello")
        assert await client.receive_some() == b"hello"
        await client.aclose()
    assert set(told) == {"too many open files"}


# -- admission -------------------------------------------------------------------------------------


async def test_who_is_not_admitted_is_closed_before_any_handshake(tmp_path: Path) -> None:
    asked: list[Stream] = []

    def admit(stream: Stream) -> AbstractContextManager[bool]:
        asked.append(stream)
        return nullcontext(enter_result=False)

    async with listening(certificates.tls_config(tmp_path, "localhost"), admit=admit) as it:
        client = await it.connect()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        await client.aclose()
        assert len(asked) == 1
        assert (it.handled, it.failures) == ([], [])


async def test_a_connection_lives_inside_its_admission(tmp_path: Path) -> None:
    """Handshakes under way are held against the limit, too."""
    inside = 0

    @contextmanager
    def admit(stream: Stream) -> Iterator[bool]:
        nonlocal inside
        inside += 1
        yield True
        inside -= 1

    async with listening(certificates.tls_config(tmp_path, "localhost"), admit=admit) as it:
        served = await it.connect_tls("localhost")
        hanging = await it.connect()
        await hanging.send_all(b"\x16")
        await (await it.connect_tls("localhost")).aclose()
        await wait_all_tasks_blocked()
        assert inside == 2
        await hanging.aclose()
        await it.failed()
        await served.aclose()
        await wait_all_tasks_blocked(0.05)
        assert inside == 0
