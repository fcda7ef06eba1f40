"""One connection to a controller: exact requests, the gate for answers, and the ways it fails."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from gateway.config.models import ControllerConfig
from gateway.config.values import ControllerUrl
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http import controller_connection
from gateway.http.controller_connection import ControllerConnection, ControllerLimits, fetch
from gateway.protocol.http_head import HeadLimits, RequestHead
from gateway.protocol.http_headers import Field, Headers
from tests.http.memory_stream import MemoryStream
from tests.peers.raw_origin import OriginConnection, RawOrigin, Script, answering

LIMITS = ControllerLimits(head=HeadLimits(total=1000), informational=3)


def request(*fields: Field, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, b"/x?y", b"1.1", Headers([(b"hOST", b"a"), *fields]))


async def ask(stream: MemoryStream, method: bytes = b"GET") -> ControllerConnection:
    connection = ControllerConnection(stream.as_stream(), LIMITS)
    await connection.send_request(request(method=method), ended=True)
    return connection


# -- requests --------------------------------------------------------------------------------------


async def test_a_request_leaves_exactly_as_it_is_in_one_send() -> None:
    stream = MemoryStream()
    await ask(stream)
    assert stream.sent == b"GET /x?y HTTP/1.1\r\nhOST: a\r\n\r\n"
    assert stream.sends == 1


async def test_bodies_leave_piece_by_piece() -> None:
    stream = MemoryStream()
    connection = ControllerConnection(stream.as_stream(), LIMITS)
    head = request((b"Transfer-Encoding", b"chunked"), method=b"PUT")
    await connection.send_request(head, b"he", ended=False)
    await connection.send_body(b"llo", ended=False)
    await connection.send_body(b"!", ended=True, trailers=[(b"X-Sum", b"1")])
    body = stream.sent.partition(b"\r\n\r\n")[2]
    assert body == b"2\r\nhe\r\n3\r\nllo\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert stream.sends == 3


async def test_a_controller_that_hung_up_is_unreachable() -> None:
    stream = MemoryStream()
    stream.broken = "broken pipe"
    with pytest.raises(ControllerUnreachable, match="broken pipe"):
        await ask(stream)


async def test_a_controller_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    stream = MemoryStream()
    stream.blocked = True
    with pytest.raises(ControllerTimeout):
        await ask(stream)
    assert trio.current_time() == LIMITS.send_timeout


# -- answers ---------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_in_any_pieces(size: int) -> None:
    wire = b"HTTP/1.1 102 \r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"hello"
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    connection = await ask(MemoryStream(*pieces))
    assert [(await connection.receive_head()).status for _ in range(3)] == [102, 103, 200]
    body = connection.body_at_hand()
    while not connection.received_all:
        body += await connection.receive_body()
    assert body == b"hello"
    assert await connection.receive_body() == b""


async def test_a_body_that_came_with_the_head_is_at_hand_once() -> None:
    connection = await ask(MemoryStream(OK + b"he", b"llo"))
    await connection.receive_head()
    assert await connection.receive_body() == b"he"
    assert connection.body_at_hand() == b""
    assert await connection.receive_body() == b"llo"
    assert connection.received_all


async def test_an_answer_to_head_has_no_body() -> None:
    connection = await ask(MemoryStream(OK), b"HEAD")
    head = await connection.receive_head()
    assert head.content_length == 5
    assert connection.received_all


async def test_an_answer_without_framing_ends_with_the_stream() -> None:
    connection = await ask(MemoryStream(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", b""))
    await connection.receive_head()
    body = b""
    while not connection.received_all:
        body += await connection.receive_body()
    assert body == b"hello"


async def test_trailers_are_there_at_the_end() -> None:
    wire = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-SUM: 1\r\n\r\n"
    connection = await ask(MemoryStream(wire))
    await connection.receive_head()
    assert connection.received_all
    assert connection.trailers == ((b"X-SUM", b"1"),)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"RESET"],
        [b"HTTP/1.1 200 \r\n", b""],
        [b"HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"],
        [b"HTTP/1.1 200 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
        [b"HTTP/1.1 200 \r\nA: b\n\r\n"],
        [b"HTTP/1.1 200 \r\nA: " + b"b" * 1000 + b"\r\n\r\n"],
        [b"HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"],
        [b"HTTP/1.1 102 \r\n\r\n" * 4],
        [b"\x16\x03\x01"],
        [b"\r\n" + OK],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
    ],
)
async def test_an_answer_that_is_none_makes_the_controller_unreachable(pieces: list[bytes]) -> None:
    connection = await ask(MemoryStream(*pieces))

    async def receive() -> None:
        while (await connection.receive_head()).status < 200:
            pass

    with pytest.raises(ControllerUnreachable):
        await receive()


@pytest.mark.parametrize(
    "pieces",
    [
        [OK, b"hel", b""],
        [OK, b"hel", b"RESET"],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", b"lloX\r\n"],
        [b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", b"llo\r\n", b""],
    ],
)
async def test_a_body_that_is_cut_or_malformed(pieces: list[bytes]) -> None:
    connection = await ask(MemoryStream(*pieces))
    await connection.receive_head()

    async def receive() -> None:
        while not connection.received_all:
            await connection.receive_body()

    with pytest.raises(ControllerUnreachable):
        await receive()


async def test_receiving_may_be_cancelled_and_repeated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = MemoryStream(OK[:10])
    connection = await ask(stream)
    with trio.move_on_after(1) as scope:
        await connection.receive_head()
    assert scope.cancelled_caught
    stream.feed(OK[10:])
    assert (await connection.receive_head()).status == 200
    with trio.move_on_after(1) as scope:
        await connection.receive_body()
    assert scope.cancelled_caught
    stream.feed(b"hello")
    assert await connection.receive_body() == b"hello"


async def test_closing_is_orderly_only_after_a_whole_answer() -> None:
    for wire, expected in ((OK + b"hello", "aclose"), (OK, "abort")):
        stream = MemoryStream(wire)
        connection = await ask(stream)
        await connection.receive_head()
        await connection.aclose()
        assert stream.closed == expected


# -- the way there ---------------------------------------------------------------------------------


async def start_origin(nursery: trio.Nursery, script: Script) -> RawOrigin:
    origin: RawOrigin = await nursery.start(RawOrigin(script).run)
    return origin


def controller(port: int, scheme: str = "http", host: str = "127.0.0.1") -> ControllerConfig:
    return ControllerConfig(url=ControllerUrl(scheme, host, port, "/jenkins"))


async def test_fetch(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK + b"hello"))
    head, body = await fetch(controller(origin.port), "/jenkins/x/")
    assert (head.status, body) == (200, b"hello")
    (seen,) = origin.requests
    assert seen.line == b"GET /jenkins/x/ HTTP/1.1"
    assert seen.get(b"host") == b"127.0.0.1:%d" % origin.port
    assert seen.get(b"connection") == b"close"


async def test_fetch_follows_no_redirect(nursery: trio.Nursery) -> None:
    wire = b"HTTP/1.1 302 \r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    origin = await start_origin(nursery, answering(wire))
    head, _ = await fetch(controller(origin.port), "/")
    assert head.status == 302
    assert len(origin.requests) == 1


async def test_fetch_passes_over_informational_answers(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(b"HTTP/1.1 103 \r\n\r\n" + OK + b"hello"))
    head, body = await fetch(controller(origin.port), "/")
    assert (head.status, body) == (200, b"hello")


async def test_fetch_is_bounded_in_size(nursery: trio.Nursery) -> None:
    async def endless(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 \r\n\r\n")
        while True:
            await connection.send(b"x" * 10_000)

    origin = await start_origin(nursery, endless)
    with pytest.raises(ControllerUnreachable, match="too long"):
        await fetch(controller(origin.port), "/")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 \r\n", OK + b"he"])
async def test_fetch_is_bounded_in_time(begun: bytes, nursery: trio.Nursery) -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(begun)
        await connection.wait_for_end()

    origin = await start_origin(nursery, silent)
    with pytest.raises(ControllerTimeout):
        await fetch(controller(origin.port), "/", timeout=0.2)
    with trio.fail_after(20):
        await origin.connections[0].ended.wait()


async def test_nobody_listens(nursery: trio.Nursery) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(ControllerUnreachable):
        await fetch(controller(port), "/")


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Make a CA the only one that the system trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    controller_connection._system_trust.cache_clear()
    return made


async def start_tls_origin(nursery: trio.Nursery, issuer: trustme.CA, name: str) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            await stream.send_all(OK + b"hello")
            await stream.aclose()
        except (trio.BrokenResourceError, ssl.SSLError):
            pass  # the gateway did not like the certificate

    listeners = await nursery.start(
        partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
    )
    port: int = listeners[0].transport_listener.socket.getsockname()[1]
    return port


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_controller_with_a_trusted_certificate(
    name: str, authority: trustme.CA, nursery: trio.Nursery
) -> None:
    port = await start_tls_origin(nursery, authority, name)
    head, body = await fetch(controller(port, "https", name), "/")
    assert (head.status, body) == (200, b"hello")


async def test_a_certificate_for_another_name(authority: trustme.CA, nursery: trio.Nursery) -> None:
    port = await start_tls_origin(nursery, authority, "other.example.com")
    with pytest.raises(ControllerUnreachable):
        await fetch(controller(port, "https", "localhost"), "/")


async def test_a_certificate_of_nobody_we_trust(
    authority: trustme.CA, nursery: trio.Nursery
) -> None:
    port = await start_tls_origin(nursery, trustme.CA(), "localhost")
    with pytest.raises(ControllerUnreachable):
        await fetch(controller(port, "https", "localhost"), "/")


async def test_a_controller_that_does_not_speak_tls(
    authority: trustme.CA, nursery: trio.Nursery
) -> None:
    async def plain(connection: OriginConnection) -> None:
        await connection.receive()
        await connection.send(b"HTTP/1.1 400 \r\n\r\n")

    origin = await start_origin(nursery, plain)
    with pytest.raises(ControllerUnreachable):
        await fetch(controller(origin.port, "https"), "/")
