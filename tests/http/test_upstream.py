"""The way to a controller: TLS, addresses, checks, and one GET."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from gateway.config.models import ControllerConfig
from gateway.config.networks import is_ip_address
from gateway.config.upstream import HealthCheckConfig
from gateway.config.values import ControllerUrl
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.proxy import Proxy
from gateway.http.upkeep import Upkeep
from gateway.http.upstream import Upstream, Upstreams, fetch
from gateway.transport import client_tls
from tests.http.serving import make_config, start
from tests.peers.raw_client import RawClient
from tests.peers.raw_origin import OriginConnection, RawOrigin, Script, answering

OK = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"


# -- the way there ---------------------------------------------------------------------------------


async def start_origin(nursery: trio.Nursery, script: Script) -> RawOrigin:
    origin: RawOrigin = await nursery.start(RawOrigin(script).run)
    return origin


def controller(port: int, scheme: str = "http", host: str = "127.0.0.1") -> ControllerConfig:
    return ControllerConfig(url=ControllerUrl(scheme, host, port, "/jenkins"))


async def test_fetch(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(OK + b"hello"))
    head, body = await fetch("main", controller(origin.port), "/jenkins/x/")
    assert (head.status, body) == (200, b"hello")
    (seen,) = origin.requests
    assert seen.line == b"GET /jenkins/x/ HTTP/1.1"
    assert seen.get(b"host") == b"127.0.0.1:%d" % origin.port
    assert seen.get(b"connection") == b"close"


async def test_fetch_follows_no_redirect(nursery: trio.Nursery) -> None:
    wire = b"HTTP/1.1 302 \r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    origin = await start_origin(nursery, answering(wire))
    head, _ = await fetch("main", controller(origin.port), "/")
    assert head.status == 302
    assert len(origin.requests) == 1


async def test_fetch_passes_over_informational_answers(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering(b"HTTP/1.1 103 \r\n\r\n" + OK + b"hello"))
    head, body = await fetch("main", controller(origin.port), "/")
    assert (head.status, body) == (200, b"hello")


async def test_fetch_is_bounded_in_size(nursery: trio.Nursery) -> None:
    async def endless(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 \r\n\r\n")
        while True:
            await connection.send(b"x" * 10_000)

    origin = await start_origin(nursery, endless)
    with pytest.raises(ControllerUnreachable, match="too long"):
        await fetch("main", controller(origin.port), "/")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 \r\n", OK + b"he"])
async def test_fetch_is_bounded_in_time(begun: bytes, nursery: trio.Nursery) -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(begun)
        await connection.wait_for_end()

    origin = await start_origin(nursery, silent)
    with pytest.raises(ControllerTimeout):
        await fetch("main", controller(origin.port), "/", timeout=0.2)
    with trio.fail_after(20):
        await origin.connections[0].ended.wait()


async def test_nobody_listens(nursery: trio.Nursery) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(ControllerUnreachable):
        await fetch("main", controller(port), "/")


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Make a CA the only one that the system trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    client_tls._context.cache_clear()
    return made


async def start_tls_origin(
    nursery: trio.Nursery, issuer: trustme.CA, name: str, *, ask: bool = False
) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)
    if ask:  # for a client certificate
        context.verify_mode = ssl.CERT_REQUIRED
        issuer.configure_trust(context)

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
    head, body = await fetch("main", controller(port, "https", name), "/")
    assert (head.status, body) == (200, b"hello")


async def test_a_certificate_for_another_name(authority: trustme.CA, nursery: trio.Nursery) -> None:
    port = await start_tls_origin(nursery, authority, "other.example.com")
    with pytest.raises(ControllerUnreachable):
        await fetch("main", controller(port, "https", "localhost"), "/")


async def test_a_certificate_of_nobody_we_trust(
    authority: trustme.CA, nursery: trio.Nursery
) -> None:
    port = await start_tls_origin(nursery, trustme.CA(), "localhost")
    with pytest.raises(ControllerUnreachable):
        await fetch("main", controller(port, "https", "localhost"), "/")


async def test_a_controller_that_does_not_speak_tls(
    authority: trustme.CA, nursery: trio.Nursery
) -> None:
    async def plain(connection: OriginConnection) -> None:
        await connection.receive()
        await connection.send(b"HTTP/1.1 400 \r\n\r\n")

    origin = await start_origin(nursery, plain)
    with pytest.raises(ControllerUnreachable):
        await fetch("main", controller(origin.port, "https"), "/")


# -- configured TLS --------------------------------------------------------------------------------


async def start_private_origin(nursery: trio.Nursery, folder: Path, name: str) -> tuple[int, Path]:
    """Start an origin with a certificate of an authority that only a file knows."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(folder / "private.pem"))
    return await start_tls_origin(nursery, issuer, name), folder / "private.pem"


def tls_controller(port: int, **tls: object) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": f"https://127.0.0.1:{port}/", "tls": tls})


async def test_a_ca_file(nursery: trio.Nursery, tmp_path: Path) -> None:
    port, ca_file = await start_private_origin(nursery, tmp_path, "127.0.0.1")
    head, _ = await fetch("main", tls_controller(port, ca_file=ca_file), "/")
    assert head.status == 200
    with pytest.raises(ControllerUnreachable):
        await fetch("main", tls_controller(port), "/")


async def test_the_name_is_checked_unless_told_otherwise(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    port, ca_file = await start_private_origin(nursery, tmp_path, "jenkins.lan")
    with pytest.raises(ControllerUnreachable, match=r"not for 127\.0\.0\.1"):
        await fetch("main", tls_controller(port, ca_file=ca_file), "/")
    for more in ({"server_name": "jenkins.lan"}, {"verify_name": False}):
        head, _ = await fetch("main", tls_controller(port, ca_file=ca_file, **more), "/")
        assert head.status == 200


async def test_a_client_certificate(nursery: trio.Nursery, tmp_path: Path) -> None:
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf = issuer.issue_cert("gateway.lan")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    pair = {"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key"}
    port = await start_tls_origin(nursery, issuer, "127.0.0.1", ask=True)
    ca_file = tmp_path / "ca.pem"
    head, _ = await fetch(
        "main", tls_controller(port, ca_file=ca_file, client_certificate=pair), "/"
    )
    assert head.status == 200
    with pytest.raises(ControllerUnreachable):
        await fetch("main", tls_controller(port, ca_file=ca_file), "/")


# -- several addresses -----------------------------------------------------------------------------


def answering_with(name: bytes, status: int = 200) -> Script:
    async def script(connection: OriginConnection) -> None:
        while connection.buffer or await connection.receive():
            await connection.read_request()
            await connection.send(
                b"HTTP/1.1 %d \r\nContent-Length: %d\r\n\r\n%b" % (status, len(name), name)
            )

    return script


async def dead_port() -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


def several(*ports: int, **more: object) -> ControllerConfig:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    return ControllerConfig.model_validate(
        {"url": "http://jenkins.invalid/", "addresses": addresses, **more}
    )


async def port_of(upstream: Upstream) -> int:
    """Return the port that a request would get."""
    lease = await upstream.acquire(repeatable=True)
    upstream.release(lease)
    return lease.address.port


async def test_the_first_address_that_accepts_serves_all(nursery: trio.Nursery) -> None:
    dead = await dead_port()
    a, b = [await start_origin(nursery, answering_with(name)) for name in (b"a", b"b")]
    controller = several(dead, a.port, b.port)
    for _ in range(3):
        _, body = await fetch("main", controller, "/")
        assert body == b"a"
    assert a.requests[0].get(b"host") == b"jenkins.invalid"
    assert b.requests == []


async def test_an_address_that_refuses_is_ejected(nursery: trio.Nursery) -> None:
    dead = await dead_port()
    origin = await start_origin(nursery, answering_with(b"a"))
    upstream = Upstream("main", several(dead, origin.port, ejection={"failures": 2}))
    for _ in range(2):
        assert await port_of(upstream) == origin.port
    (first, _) = await upstream.addresses()
    assert first.port == origin.port
    await close(upstream)


async def close(upstream: Upstream) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await upstream.run()


async def test_nobody_answers_at_any_address() -> None:
    upstream = Upstream("main", several(await dead_port(), await dead_port()))
    with pytest.raises(ControllerUnreachable):
        await upstream.acquire(repeatable=True)


async def test_checks_move_requests_to_the_standby_and_back(nursery: trio.Nursery) -> None:
    status = 503
    asked: list[bytes] = []

    async def active(connection: OriginConnection) -> None:
        asked.append((await connection.read_request()).line)
        await connection.send(b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status)

    first = await start_origin(nursery, active)
    standby = await start_origin(nursery, answering_with(b"b"))
    upstream = Upstream(
        "main", several(first.port, standby.port, health_check={"interval": 0.02, "timeout": 2.0})
    )
    nursery.start_soon(upstream.run)
    assert (await upstream.addresses())[0].port == first.port
    await until_first(upstream, standby.port)
    assert set(asked) == {b"GET /login HTTP/1.1"}
    status = 302
    await until_first(upstream, first.port)


async def until_first(upstream: Upstream, port: int) -> None:
    with trio.fail_after(20):
        while (await upstream.addresses())[0].port != port:  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.01)


async def test_a_check_that_hangs_has_failed(nursery: trio.Nursery) -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.wait_for_end()

    first = await start_origin(nursery, silent)
    standby = await start_origin(nursery, answering_with(b"b"))
    check = {"interval": 0.05, "timeout": 0.02, "path": "/health"}
    upstream = Upstream("main", several(first.port, standby.port, health_check=check))
    nursery.start_soon(upstream.run)
    await until_first(upstream, standby.port)


def test_checks_are_for_several_addresses_or_when_asked_for() -> None:
    assert Upstream("main", several(1, 2)).health_check is not None
    assert Upstream("main", several(1)).health_check is None
    assert Upstream("main", several(1, health_check={})).health_check is not None
    assert Upstream("main", controller(1, host="jenkins.lan")).health_check is not None
    assert Upstream("main", controller(1, host="127.0.0.1")).health_check is None


# -- names -----------------------------------------------------------------------------------------


class NameServer:
    """In place of ``getaddrinfo``: ``hosts`` are what names lead to, none is a failure."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)
        self.delay = 0.0
        self.lookups = 0

    async def __call__(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if is_ip_address(host):  # peers' own sockets
            return [(2, 1, 6, "", (host, port))]
        self.lookups += 1
        await trio.sleep(self.delay)
        if not self.hosts:
            raise OSError("no answer")
        return [(2, 1, 6, "", (each, port)) for each in self.hosts]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    server = NameServer()
    monkeypatch.setattr(trio.socket, "getaddrinfo", server)
    return server


async def hosts_of(upstream: Upstream) -> list[str]:
    return [address.host for address in await upstream.addresses()]


async def test_the_answers_to_a_name_are_addresses(
    nursery: trio.Nursery, names: NameServer
) -> None:
    origin = await start_origin(nursery, answering_with(b"a"))
    names.hosts = ["127.0.0.2", "127.0.0.1"]
    upstream = Upstream("main", controller(origin.port, host="jenkins.lan"))
    with trio.fail_after(20):
        lease = await upstream.acquire(repeatable=True)
    upstream.release(lease)
    assert lease.address.host == "127.0.0.1"  # nobody listens on the other one
    assert (await hosts_of(upstream))[0] == "127.0.0.1"  # which is not asked again first
    await close(upstream)


async def test_a_name_is_looked_up_every_10_seconds(
    nursery: trio.Nursery, names: NameServer, autojump_clock: trio.testing.MockClock
) -> None:
    names.hosts = ["192.0.2.1"]
    upstream = Upstream("main", controller(1, host="jenkins.lan"))
    nursery.start_soon(upstream._keep_resolved)
    await trio.sleep(9)
    assert await hosts_of(upstream) == ["192.0.2.1"]
    assert names.lookups == 1
    names.hosts = ["192.0.2.2"]
    await trio.sleep(2)
    assert await hosts_of(upstream) == ["192.0.2.2"]
    names.hosts.clear()
    await trio.sleep(10)
    assert await hosts_of(upstream) == ["192.0.2.2"]  # the last answer is better than none
    assert names.lookups == 3


async def test_nobody_waits_for_a_name_that_was_answered(
    nursery: trio.Nursery, names: NameServer, autojump_clock: trio.testing.MockClock
) -> None:
    names.hosts = ["192.0.2.1"]
    upstream = Upstream("main", controller(1, host="jenkins.lan"))
    nursery.start_soon(upstream._keep_resolved)
    await trio.sleep(1)
    names.delay = 3600
    for _ in range(30):
        started = trio.current_time()
        assert await hosts_of(upstream) == ["192.0.2.1"]
        assert trio.current_time() == started
        await trio.sleep(1)
    assert names.lookups > 2


async def test_all_share_one_look_up_and_its_failure(
    names: NameServer, autojump_clock: trio.testing.MockClock
) -> None:
    names.delay = 3600
    upstream = Upstream("main", controller(1, host="jenkins.lan"))

    async def fail() -> None:
        with pytest.raises(ControllerUnreachable, match="does not resolve"):
            await upstream.acquire(repeatable=True)
        assert trio.current_time() == 5

    async with trio.open_nursery() as requests:
        for _ in range(8):
            requests.start_soon(fail)
    assert names.lookups == 1
    names.hosts, names.delay = ["192.0.2.1"], 0.0
    await trio.sleep(0.9)
    with pytest.raises(ControllerUnreachable):
        await upstream.addresses()
    await trio.sleep(0.2)
    assert await hosts_of(upstream) == ["192.0.2.1"]
    assert names.lookups == 2


async def test_a_look_up_that_is_cancelled_fails_nobody_else(
    names: NameServer, autojump_clock: trio.testing.MockClock
) -> None:
    names.hosts, names.delay = ["192.0.2.1"], 2.0
    upstream = Upstream("main", controller(1, host="jenkins.lan"))
    found: list[str] = []

    async def ask() -> None:
        found.extend(await hosts_of(upstream))

    async with trio.open_nursery() as requests:
        with trio.move_on_after(1):
            requests.start_soon(ask)
            await upstream.addresses()
    assert found == ["192.0.2.1"]


async def test_the_answers_to_a_name_are_checked_where_they_are_several(
    nursery: trio.Nursery, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = HealthCheckConfig(interval=0.02)
    monkeypatch.setattr("gateway.http.upstream.HealthCheckConfig", lambda: often)
    monkeypatch.setattr("gateway.http.upstream.RESOLVE_EVERY", 0.02)
    origin = await start_origin(nursery, answering_with(b"a"))
    names.hosts = ["127.0.0.1"]
    upstream = Upstream("main", controller(origin.port, host="jenkins.lan"))
    nursery.start_soon(upstream.run)
    with trio.fail_after(20):
        while names.lookups < 5:  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.01)
        assert origin.requests == []
        names.hosts.insert(0, "127.0.0.2")
        while not origin.requests:  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.01)
    assert origin.requests[0].line == b"GET /jenkins/login HTTP/1.1"


# -- upkeep ----------------------------------------------------------------------------------------


async def test_idle_connections_are_closed_without_anybody_asking(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.upstream.SWEEP_EVERY", 0.01)
    origin = await start_origin(nursery, answering_with(b"a"))
    upstream = Upstream("main", several(origin.port, connections={"idle_timeout": 0.02}))
    nursery.start_soon(upstream.run)
    await port_of(upstream)
    with trio.fail_after(20):
        while not origin.connections:  # noqa: ASYNC110 - the origin has no event for it
            await trio.sleep(0.01)
        await origin.connections[0].ended.wait()


async def test_upstreams_know_their_controllers(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, answering_with(b"a"))
    config = make_config(f"http://127.0.0.1:{origin.port}/")
    upstreams = Upstreams(config)
    _, body = await upstreams.fetch("main", config.controllers["main"], "/")
    assert body == b"a"
    assert upstreams.get("main") is not None
    assert upstreams.get("other") is None


async def test_controllers_that_are_equal_are_two(nursery: trio.Nursery) -> None:
    """What is known about one of them is not known about the other."""
    a, b = [await start_origin(nursery, answering_with(name)) for name in (b"a", b"b")]
    same = several(a.port, b.port, ejection={"failures": 1})
    names = ("main", "other")
    config = make_config(
        controllers={name: same.model_dump(mode="json") for name in names},
        routes=[{"id": name, "host": name, "controller": name} for name in names],
    )
    upstreams = Upstreams(config)
    main = upstreams.get("main")
    assert main is not None
    main.failed(same.addresses[0])
    answers = [await upstreams.fetch(n, config.controllers[n], "/") for n in names]
    assert [body for _, body in answers] == [b"b", b"a"]


async def test_connections_with_tls_are_used_again(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Session tickets come after the handshake; they must not look like the end of an idle one."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    accepted = 0

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal accepted
        accepted += 1
        while await stream.receive_some():
            await stream.send_all(OK + b"hello")

    listeners = await nursery.start(
        partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
    )
    port = listeners[0].transport_listener.socket.getsockname()[1]
    made = make_config(
        f"https://127.0.0.1:{port}/", controller={"tls": {"ca_file": tmp_path / "ca.pem"}}
    )
    upstreams = Upstreams(made)
    nursery.start_soon(Upkeep(upstreams).run)
    gateway = await start(nursery, Proxy(upstreams).forward, made)
    for _ in range(5):
        async with await RawClient.connect(gateway) as client:
            answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.body == b"hello"
    assert accepted == 1
