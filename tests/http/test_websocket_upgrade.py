"""WebSockets that are not agents': through a proxy to a recording origin, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import structlog
import trio
from structlog.testing import LogCapture

from gateway.errors import Draining
from gateway.http.proxy import Proxy
from gateway.http.upkeep import Upkeep
from gateway.http.upstream import Upstreams
from gateway.http.websocket_upgrade import WebSocketUpgrades
from gateway.runtime.session_end import Endable, SessionEnd, Side
from tests.http.serving import make_config, start
from tests.peers.raw_client import Answer, RawClient, Truncated
from tests.peers.raw_frames import BINARY, CLOSE, MASK, TEXT, frame
from tests.peers.raw_origin import OriginConnection, RawOrigin
from tests.peers.ws_controller import WebSocketController, answer
from tests.peers.ws_end import End

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    b"GET /cli/ws?x=%%2F HTTP/1.1\r\nhost: ci\r\nUpgrade: %s\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nsec-websocket-KEY: " + KEY + b"\r\n%s\r\n"
)
WEBSOCKET = REQUEST % (b"websocket", b"Cookie: JSESSIONID=1\r\nOrigin: https://ci\r\n")


class Sessions:
    """Where sessions are entered; ends them all."""

    def __init__(self) -> None:
        self.alive: list[Endable] = []

    @contextmanager
    def register(self, session: Endable) -> Iterator[None]:
        self.alive.append(session)
        try:
            yield
        finally:
            self.alive.remove(session)


async def echo(end: End) -> None:
    done = 0
    while await end.receive():
        for opcode, payload in end.frames[done:]:
            if opcode in {TEXT, BINARY, CLOSE}:
                await end.send(opcode, payload)
        done = len(end.frames)


@asynccontextmanager
async def proxied(
    controller: WebSocketController, /, **config: Any
) -> AsyncIterator[tuple[int, Sessions]]:
    """Run ``controller`` and a proxy in front of it; yield the proxy's port."""
    route = {"id": "main", "controller": "main", **config.pop("route", {})}
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        made = make_config(controller.url, routes=[route], **config)
        upstreams = Upstreams(made)
        nursery.start_soon(Upkeep(upstreams).run)
        sessions = Sessions()
        proxy = Proxy(upstreams, upgrades=WebSocketUpgrades(made, sessions=sessions))
        yield await start(nursery, proxy.forward, made), sessions
        nursery.cancel_scope.cancel()


async def ask(port: int, request: bytes = WEBSOCKET) -> Answer:
    async with await RawClient.connect(port) as client:
        return await client.ask(request)


@asynccontextmanager
async def opened(port: int, request: bytes = WEBSOCKET) -> AsyncIterator[tuple[Answer, End]]:
    async with await RawClient.connect(port) as client:
        await client.send(request)
        head = await client.read_head()
        assert head.status == 101, head.head
        yield head, End(client.stream, MASK, bytes(client.buffer))


async def test_the_request_and_its_101_arrive_as_they_were_sent() -> None:
    controller = WebSocketController({}, echo)
    controller.extensions = b"permessage-deflate"
    async with proxied(controller) as (port, _), opened(port) as (head, end):
        await end.send(TEXT, b"hello")
        assert await end.read_until(TEXT) == (TEXT, b"hello")
        (seen,) = controller.requests
        assert seen.head == (
            b"GET /cli/ws?x=%2F HTTP/1.1\r\nhost: ci\r\nSec-WebSocket-Version: 13\r\n"
            b"sec-websocket-KEY: " + KEY + b"\r\nCookie: JSESSIONID=1\r\nOrigin: https://ci\r\n"
            b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: ci\r\nX-Forwarded-Proto: http\r\n"
            b"X-Forwarded-Port: 80\r\nX-Request-Id: abcd-efgh\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert head.head == (
            b"HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n"
            b"X-Content-Type-Options: nosniff\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\nconnection: Upgrade\r\n"
            b"sec-websocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nUpgrade: WebSocket\r\n\r\n"
        )


async def test_agents_fields_do_not_travel() -> None:
    controller = WebSocketController({})
    request = REQUEST % (b"websocket", b"Secret-Key: s\r\nNode-Name: n\r\n")
    async with proxied(controller) as (port, _), opened(port, request):
        assert controller.requests[0].get(b"secret-key") is None
        assert controller.requests[0].get(b"node-name") is None


async def test_frames_that_come_with_the_heads_are_not_lost() -> None:
    async def greet(end: End) -> None:
        await end.send(TEXT, b"welcome")
        await echo(end)

    controller = WebSocketController({}, greet)
    async with proxied(controller) as (port, _):
        early = frame(TEXT, b"early")
        async with opened(port, WEBSOCKET + early) as (_, end):
            assert await end.read_until(TEXT) == (TEXT, b"welcome")
            while (TEXT, b"early") not in end.frames:
                assert await end.receive()


async def test_a_refusal_is_passed_on_and_the_connection_stays() -> None:
    controller = WebSocketController({})
    controller.refusal = answer(
        b"403 Really Not", b"Unexpected request origin", b"X-CLI-Error: origin", b"x-a: 1"
    )
    async with proxied(controller) as (port, sessions):
        async with await RawClient.connect(port) as client:
            refused = await client.ask(WEBSOCKET)
            assert refused.head == (
                b"HTTP/1.1 403 Really Not\r\nX-CLI-Error: origin\r\nx-a: 1\r\n"
                b"Content-Length: 25\r\nX-Request-Id: abcd-efgh\r\n\r\n"
            )
            assert refused.body == b"Unexpected request origin"
            again = await client.ask(b"GET /next HTTP/1.1\r\nHost: ci\r\n\r\n")
            assert again.status == 200
        assert sessions.alive == []


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (REQUEST % (b"foo", b""), 501, b"upgrades are only to WebSocket here"),
        (REQUEST % (b"websocket, foo", b""), 501, b"upgrades are only to WebSocket here"),
        (REQUEST % (b"h2c", b""), 501, b"h2c is not implemented here"),
        (WEBSOCKET.replace(b"GET", b"POST"), 400, b"did not manage to upgrade"),
        (WEBSOCKET.replace(b": 13", b": 8"), 400, b"did not manage to upgrade"),
        (WEBSOCKET.replace(KEY, b"?"), 400, b"did not manage to upgrade"),
        (WEBSOCKET.replace(b"Connection: Upgrade", b"Connection: close"), 400, b"did not manage"),
        (
            REQUEST % (b"websocket", b"Content-Length: 3\r\n") + b"abc",
            400,
            b"an upgrade request must not have a body",
        ),
    ],
)
async def test_what_is_no_upgrade_to_websocket(request_: bytes, status: int, text: bytes) -> None:
    controller = WebSocketController({})
    async with proxied(controller) as (port, _):
        refused = await ask(port, request_)
    assert refused.status == status
    assert (refused.get(b"x-gateway-error") or b"").startswith(text)
    assert (refused.get(b"sec-websocket-version") == b"13") is (
        text.startswith(b"did not manage") and not request_.startswith(b"POST")
    )
    assert controller.requests == []


async def test_a_route_without_websockets() -> None:
    controller = WebSocketController({})
    async with proxied(controller, route={"websockets": False}) as (port, _):
        refused = await ask(port)
        assert refused.status == 400
        assert refused.get(b"x-gateway-error") == b"this route has no WebSockets"
        assert controller.requests == []
        assert (await ask(port, b"GET / HTTP/1.1\r\nHost: ci\r\n\r\n")).status == 200


async def test_there_are_only_so_many() -> None:
    controller = WebSocketController({}, echo)
    limit = {"connections": {"websockets": 2}}
    async with proxied(controller, controller=limit) as (port, _), opened(port):
        async with opened(port) as (_, end):
            assert (await ask(port)).status == 503
            await end.close()
            await end.read_to_end()
        for _ in range(100):
            if (await ask_status(port)) == 101:
                break
            await trio.sleep(0.01)
        else:
            pytest.fail("the place was not given back")


async def ask_status(port: int) -> int:
    async with await RawClient.connect(port) as client:
        await client.send(WEBSOCKET)
        return (await client.read_head()).status


async def test_websockets_take_no_place_of_requests() -> None:
    controller = WebSocketController({}, echo)
    limit = {"connections": {"limit": 1}}
    async with proxied(controller, controller=limit) as (port, _), opened(port), opened(port):
        assert (await ask(port, b"GET / HTTP/1.1\r\nHost: ci\r\n\r\n")).status == 200


async def with_script(script: Any, *, controller: Any = None, **route: Any) -> Answer:
    """Ask a proxy in front of an origin that does something else, until its connection is over."""
    over = trio.Event()

    async def run(connection: OriginConnection) -> None:
        try:
            await script(connection)
        finally:
            over.set()

    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(run).run)
        made = make_config(
            f"http://127.0.0.1:{origin.port}/",
            controller=controller or {},
            routes=[{"id": "main", "controller": "main", **route}],
        )
        upstreams = Upstreams(made)
        proxy = Proxy(upstreams, upgrades=WebSocketUpgrades(made, sessions=Sessions()))
        port = await start(nursery, proxy.forward, made)
        answered = await ask(port)
        await over.wait()
        nursery.cancel_scope.cancel()
    return answered


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_an_answer_that_cannot_be_used(said: bytes) -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(said)
        await connection.stream.send_eof()
        await connection.wait_for_end()

    answered = await with_script(script)
    assert answered.status == 502


async def test_no_answer_in_time() -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.wait_for_end()

    answered = await with_script(script, response_timeout="100ms")
    assert answered.status == 504


@pytest.mark.parametrize("answers", [True, False])
async def test_addresses_that_do_not_answer_in_time_are_ejected(*, answers: bool) -> None:
    """Unless it was the client who did not wait."""
    asked = trio.Event()

    async def silent(connection: OriginConnection) -> None:
        await connection.read_head()
        asked.set()
        await connection.wait_for_end()

    controller = WebSocketController({}, echo)
    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(silent).run)
        addresses = {
            "addresses": [
                f"127.0.0.1:{origin.port}",
                f"127.0.0.1:{await nursery.start(up, controller)}",
            ],
            "health_check": {"interval": "1h"},
            "ejection": {"failures": 2},
        }
        route = {"id": "main", "controller": "main"}
        route["response_timeout"] = "100ms" if answers else "1m"
        made = make_config("http://127.0.0.1:1/", controller=addresses, routes=[route])
        proxy = Proxy(Upstreams(made), upgrades=WebSocketUpgrades(made, sessions=Sessions()))
        port = await start(nursery, proxy.forward, made)
        if answers:
            assert [await ask_status(port) for _ in range(4)] == [504, 504, 101, 101]
        else:
            for _ in range(3):
                asked = trio.Event()
                async with await RawClient.connect(port) as client:
                    await client.send(WEBSOCKET)
                    await asked.wait()
            assert controller.requests == []
        nursery.cancel_scope.cancel()


async def up(controller: WebSocketController, *, task_status: trio.TaskStatus[int]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        task_status.started(controller.port)


async def read_on(client: RawClient) -> None:
    while await client.receive():
        pass


async def test_a_refusal_that_stands_still_holds_no_place() -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nn")
        await connection.wait_for_end()

    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(script).run)
        made = make_config(
            f"http://127.0.0.1:{origin.port}/",
            controller={"connections": {"websockets": 1}},
            routes=[{"id": "main", "controller": "main", "response_timeout": "500ms"}],
        )
        proxy = Proxy(Upstreams(made), upgrades=WebSocketUpgrades(made, sessions=Sessions()))
        port = await start(nursery, proxy.forward, made)
        async with await RawClient.connect(port) as one, await RawClient.connect(port) as other:
            await one.send(WEBSOCKET)
            assert (await one.read_head()).status == 403
            await other.send(WEBSOCKET)
            assert (await other.read_head()).status == 403
            for client in (one, other):  # nor anything else for ever
                with pytest.raises(Truncated):
                    await read_on(client)
                assert bytes(client.buffer) == b"n"
        nursery.cancel_scope.cancel()


async def test_a_chunked_refusal_after_103() -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await connection.send(
            b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n"
        )
        await trio.sleep(0.01)
        await connection.send(b"no\r\n0\r\n\r\n")
        await connection.wait_for_end()

    answered = await with_script(script)
    assert (answered.status, answered.body) == (401, b"no")


async def test_a_client_that_leaves_before_the_answer() -> None:
    asked, controller_saw_the_end = trio.Event(), trio.Event()

    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        asked.set()
        await connection.wait_for_end()
        controller_saw_the_end.set()

    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(script).run)
        made = make_config(f"http://127.0.0.1:{origin.port}/")
        proxy = Proxy(Upstreams(made), upgrades=WebSocketUpgrades(made, sessions=Sessions()))
        port = await start(nursery, proxy.forward, made)
        async with await RawClient.connect(port) as client:
            await client.send(WEBSOCKET)
            await asked.wait()
        await controller_saw_the_end.wait()
        nursery.cancel_scope.cancel()


async def test_a_controller_behind_the_proxy_protocol() -> None:
    introduced = b""

    async def script(connection: OriginConnection) -> None:
        nonlocal introduced
        while len(connection.buffer) < 28:
            assert await connection.receive()
        introduced = bytes(connection.buffer[:28])
        del connection.buffer[:28]
        await connection.read_head()
        await connection.send(answer(b"403 No"))
        await connection.wait_for_end()

    answered = await with_script(script, controller={"proxy_protocol": "v2"})
    assert answered.status == 403
    assert introduced.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")
    assert introduced[16:20] == b"\x7f\0\0\1"


async def test_nobody_there() -> None:
    controller = WebSocketController({})
    async with trio.open_nursery() as nursery:
        made = make_config("http://127.0.0.1:1/")
        proxy = Proxy(Upstreams(made), upgrades=WebSocketUpgrades(made, sessions=Sessions()))
        port = await start(nursery, proxy.forward, made)
        assert (await ask(port)).status == 502
        nursery.cancel_scope.cancel()
    assert controller.requests == []


async def test_sessions_are_registered_and_logged() -> None:
    log = LogCapture()
    structlog.configure(processors=[log], cache_logger_on_first_use=False)
    controller = WebSocketController({}, echo)
    async with proxied(controller) as (port, sessions), opened(port) as (_, end):
        await end.send(TEXT, b"x")
        await end.read_until(TEXT)
        (session,) = sessions.alive
        session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        _, said = await end.read_until(CLOSE)
        assert said[:2] == (1012).to_bytes(2, "big")
        await end.close(1012)
        await end.read_to_end()
    lines = [line for line in log.entries if line["event"].startswith("session")]
    assert [line["event"] for line in lines] == ["session started", "session ended"]
    assert lines[0]["route"] == "main"
    assert lines[0]["path"] == "/cli/ws"
    assert lines[1]["by"] == "gateway"
    assert lines[1]["close_code"] == 1012
    assert {"bytes_from_client", "bytes_to_client", "client_idle_s"} <= lines[1].keys()
