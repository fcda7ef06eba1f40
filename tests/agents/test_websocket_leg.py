"""Agents' sessions at a controller that speaks WebSocket, through the whole gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents import takeover
from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.takeover import Takeovers
from gateway.credentials.policy import Granted, Presented
from tests.agents.bridge import (
    COOKIE,
    SECRET,
    agent_request,
    ask,
    check_refusal,
    connected,
    everything_logged,
    leaving_nothing_behind,
    make_config,
    probe,
    running_gateway,
)
from tests.peers.raw_client import RawClient
from tests.peers.raw_frames import BINARY, CLOSE, MASK
from tests.peers.raw_origin import OriginConnection, RawOrigin
from tests.peers.ws_controller import CAPABILITY, NOT_AN_AGENT, Serve, WebSocketController, answer
from tests.peers.ws_controller import COOKIE as NEW_COOKIE
from tests.peers.ws_end import End

ONE_HOP = "Connection names a field that is not for one hop"
REFUSED = (
    b"HTTP/1.1 400 Bad Request\r\nX-Content-Type-Options: nosniff\r\nx-hudson-THEME: default\r\n"
    b"Content-Type: text/html;charset=utf-8\r\nContent-Length: 30\r\nServer: Jetty\r\n\r\n"
    b"a is already connected to this"
)


@asynccontextmanager
async def relaying(
    folder: Path, controller: WebSocketController, **config: Any
) -> AsyncIterator[int]:
    """Run ``controller`` and a gateway in front of it; yield the gateway's port."""
    agents = {"transport": "websocket", **config.pop("agents", {})}
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        made = make_config(folder, controller.url, agents=agents, **config)
        async with running_gateway(made) as port:
            yield port
        nursery.cancel_scope.cancel()


def jenkins(serve: Serve | None = None) -> WebSocketController:
    return WebSocketController({"my-agent": SECRET, "agent-\xfc": SECRET}, serve)


async def test_the_upgrade_is_the_agents_own(tmp_path: Path, log: LogCapture) -> None:
    """Tyrus writes no space after the colon; a name may be Latin-1."""
    controller = jenkins()
    request = agent_request(
        {"Node-Name": b"agent-\xfc", "Connection-Cookie": COOKIE, "Origin": "http://x"}, colon=b":"
    )
    async with relaying(tmp_path, controller) as port, connected(port, request) as (head, agent):
        end = await controller.wait_for_end()
        (seen,) = controller.requests
        assert seen.line == b"GET /wsagents/ HTTP/1.1"
        names = [name for name, _ in seen.fields]
        assert names[:7] == [
            b"Host",
            b"Sec-WebSocket-Version",
            b"Sec-WebSocket-Key",
            b"Node-Name",
            b"Secret-Key",
            b"X-Remoting-Capability",
            b"Connection-Cookie",
        ]
        assert names[-2:] == [b"Connection", b"Upgrade"]
        assert seen.get(b"node-name") == b"agent-\xfc"
        assert seen.get(b"secret-key") == SECRET.encode()
        assert seen.get(b"x-forwarded-for") == b"127.0.0.1"
        assert seen.get(b"x-forwarded-proto") == b"http"
        assert head.head.split(b"\r\n")[:5] == [
            b"HTTP/1.1 101 Switching Protocols",
            b"Date: Fri, 20 Nov 2026 12:00:00 GMT",
            b"X-Content-Type-Options: nosniff",
            b"X-Remoting-Capability: " + CAPABILITY.encode(),
            b"X-Remoting-Minimum-Version: 3107.v665000b_51092",
        ]
        assert head.get(b"connection-cookie") == COOKIE.encode()
        await agent.send(b"\0\5hello", cuts=[2])
        while [opcode for opcode, _ in end.frames] != [BINARY, 0]:
            assert await end.receive()
        await end.send(BINARY, b"\0\5world")
        assert await agent.receive(7) == b"\0\5world"
    started = [line for line in log.entries if line["event"] == "session started"]
    assert [line["node"] for line in started] == ["agent-\xfc"]
    assert SECRET not in everything_logged(log)
    assert COOKIE not in everything_logged(log)


async def test_a_new_cookie_reaches_the_agent(tmp_path: Path) -> None:
    async with relaying(tmp_path, jenkins()) as port, connected(port, agent_request()) as (head, _):
        assert head.get(b"connection-cookie") == NEW_COOKIE.encode()


async def test_an_end_comes_through(tmp_path: Path, log: LogCapture) -> None:
    controller = jenkins()
    async with relaying(tmp_path, controller) as port:
        async with leaving_nothing_behind(), connected(port, agent_request()) as (_, agent):
            end = await controller.wait_for_end()
            await end.close(1000)
            assert await agent.receive(1) == b""
            assert agent.close_code == 1000
            await agent.close()
            await end.read_until(CLOSE)
            await end.read_to_end()
        (line,) = [line for line in log.entries if line["event"] == "session ended"]
        assert line["reason"] == "the controller closed the session with 1000"


@pytest.mark.parametrize("cookie", [None, COOKIE])
async def test_a_refusal_is_passed_on_with_the_cookie(
    cookie: str | None, tmp_path: Path, log: LogCapture
) -> None:
    controller = jenkins()
    controller.refusal = REFUSED
    async with relaying(tmp_path, controller) as port, await RawClient.connect(port) as client:
        refused = await client.ask(agent_request({"Connection-Cookie": cookie}))
    head, _, body = REFUSED.partition(b"\r\n\r\n")
    assert refused.head.startswith(head)
    assert refused.body == body
    assert refused.get(b"connection-cookie") == (None if cookie is None else cookie.encode())
    (line,) = [line for line in log.entries if line["event"] == "request refused"]
    assert (line["status"], line["node"], line["controller"]) == (400, "my-agent", "main")


async def test_a_refusal_with_a_cookie_of_its_own(tmp_path: Path) -> None:
    controller = jenkins()
    controller.refusal = answer(b"500 Oops", b"", b"connection-COOKIE: 0a")
    async with relaying(tmp_path, controller) as port:
        refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
    assert refused.get(b"connection-cookie") == b"0a"


@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: close, Connection-Cookie", b"Connection-Cookie: 0a"],  # it does not travel
        [b"Connection-Cookie: "],
        [b"Connection-Cookie: ?", b"connection-cookie: 0"],
    ],
)
async def test_a_refusal_whose_cookie_is_none(fields: list[bytes], tmp_path: Path) -> None:
    controller = jenkins()
    controller.refusal = answer(b"500 Oops", b"", *fields)
    async with relaying(tmp_path, controller) as port:
        refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
    given = [value for name, value in refused.fields if name.lower() == b"connection-cookie"]
    assert given == [COOKIE.encode()]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"Secret-Key": None}, 400, NOT_AN_AGENT.decode()),
        ({"Upgrade": None}, 400, "only WS connections accepted here"),
        ({"Sec-WebSocket-Version": "8"}, 400, "did not manage to upgrade"),
        ({"X-Remoting-Capability": "?"}, 400, "X-Remoting-Capability is not Base64"),
        ({"Connection": "Upgrade, Secret-Key"}, 400, ONE_HOP),
    ],
)
async def test_what_the_gateway_itself_refuses(
    changes: dict[str, str | bytes | None],
    status: int,
    text: str,
    tmp_path: Path,
    log: LogCapture,
) -> None:
    """The same checks as for a bridged session, before anything is dialled."""
    controller = jenkins()
    async with relaying(tmp_path, controller) as port:
        refused = await ask(port, agent_request({"Connection-Cookie": COOKIE, **changes}))
    check_refusal(refused, log, status, text, cookie=COOKIE)
    assert controller.requests == []


@pytest.mark.parametrize(
    ("node", "secret", "status"), [("unknown", SECRET, 400), ("my-agent", "0" * 64, 403)]
)
async def test_the_controllers_own_verdict(
    node: str, secret: str, status: int, tmp_path: Path
) -> None:
    async with relaying(tmp_path, jenkins()) as port:
        refused = await ask(
            port,
            agent_request({"Node-Name": node, "Secret-Key": secret, "Connection-Cookie": COOKIE}),
        )
    assert refused.status == status
    assert refused.get(b"connection-cookie") == COOKIE.encode()


async def test_nobody_there(tmp_path: Path, log: LogCapture) -> None:
    made = make_config(tmp_path, "http://127.0.0.1:1/", agents={"transport": "websocket"})
    async with running_gateway(made) as port:
        refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
        text = "the controller's WebSocket endpoint cannot be used"
        check_refusal(refused, log, 503, text, cookie=COOKIE)
        assert (await ask(port, probe())).status == 503


async def test_a_controller_that_says_nothing(tmp_path: Path, log: LogCapture) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        agents = {"transport": "websocket"}
        made = make_config(tmp_path, url, agents=agents, handshake_timeout="200ms")
        async with running_gateway(made) as port:
            refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
    text = "the controller did not answer in time"
    check_refusal(refused, log, 504, text, cookie=COOKIE)


async def test_an_address_that_accepts_and_says_nothing_is_ejected(
    tmp_path: Path, log: LogCapture
) -> None:
    async def silent(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.wait_for_end()

    controller = jenkins(End.serve)
    async with trio.open_nursery() as nursery:
        origin: RawOrigin = await nursery.start(RawOrigin(silent).run)
        await nursery.start(controller.run)
        main = {
            "url": "http://127.0.0.1:1/",
            "addresses": [f"127.0.0.1:{each.port}" for each in (origin, controller)],
            "health_check": {"interval": "1h"},
            "ejection": {"failures": 2},
            "agents": {"transport": "websocket"},
        }
        made = make_config(tmp_path, None, controllers={"main": main}, handshake_timeout="300ms")
        async with running_gateway(made) as port:
            found = [(await ask(port, agent_request())).status for _ in range(4)]
        nursery.cancel_scope.cancel()
    assert found == [504, 504, 101, 101]
    assert [line["event"] for line in log.entries].count("address ejected") == 1


async def test_auto_chooses_again_when_upgrades_hang(
    tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*args: object, **more: object) -> None:
        await trio.sleep_forever()

    controller = jenkins(End.serve)
    monkeypatch.setattr(controller, "_upgrade", hang)
    agents = {"transport": "auto"}
    async with relaying(tmp_path, controller, agents=agents, handshake_timeout="400ms") as port:
        for _ in range(2):
            refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
            text = "the controller did not answer in time"
            check_refusal(refused, log, 504, text, cookie=COOKIE)
            await trio.sleep(1.1)  # what has just been asked holds for a second
    asked = [each.line.split()[1] for each in controller.requests]
    assert asked.count(b"/tcpSlaveAgentListener/") == 2


async def test_the_granted_secret_is_the_one_that_is_presented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Granting:
        async def verify(self, presented: Presented, failures: Sequence[str]) -> Granted:
            return Granted(SECRET, proved=True)

    monkeypatch.setattr("gateway.credentials.modes.ControllerCheck", Granting)
    controller = jenkins()
    request = agent_request({"Secret-Key": "mine"})
    async with relaying(tmp_path, controller) as port, connected(port, request):
        (seen,) = controller.requests
    assert seen.get(b"secret-key") == SECRET.encode()


async def test_an_edge_route_leads_to_the_controllers_own_path(tmp_path: Path) -> None:
    controller = jenkins()
    route = {"id": "edge", "controller": "main", "path": "/outside", "expose": ["agents"]}
    request = agent_request(target="/outside/wsagents/")
    async with relaying(tmp_path, controller, routes=[route]) as port, connected(port, request):
        assert controller.requests[0].line == b"GET /wsagents/ HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "sent"), [("/wsagents", b"/wsagents/"), ("/wsagents?a=/b", b"/wsagents/?a=/b")]
)
async def test_the_controller_is_never_asked_without_the_slash(
    target: str, sent: bytes, tmp_path: Path
) -> None:
    """It would answer with a redirect, which agents do not follow."""
    controller = jenkins()
    request = agent_request(target=target)
    async with relaying(tmp_path, controller) as port, connected(port, request):
        assert controller.requests[0].line == b"GET %b HTTP/1.1" % sent


async def test_readiness(tmp_path: Path) -> None:
    controller = jenkins()
    async with relaying(tmp_path, controller) as port:
        assert (await ask(port, probe())).status == 200
        assert controller.requests[0].line == b"GET /wsagents/ HTTP/1.1"


async def test_auto_finds_the_way_and_another_one_when_that_fails(
    tmp_path: Path, log: LogCapture
) -> None:
    controller = jenkins(End.serve)
    async with relaying(tmp_path, controller, agents={"transport": "auto"}) as port:
        async with connected(port, agent_request()):
            await controller.wait_for_end()
        controller.refusal = answer(b"404 Not Found")
        assert (await ask(port, agent_request())).status == 404
        controller.endpoint = answer(b"404 Not Found")
        await trio.sleep(1.1)  # what has just been asked holds for a second
        refused = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
        check_refusal(refused, log, 503, "the controller is not ready for agents", cookie=COOKIE)


async def test_stopping_ends_sessions_of_both_kinds_with_1012(
    tmp_path: Path, log: LogCapture
) -> None:
    from gateway.agents.registry import Registry
    from gateway.errors import Draining
    from gateway.runtime.session_end import SessionEnd, Side

    registry = Registry()
    controller = jenkins(End.serve)
    plain = (
        b"GET /wsecho/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.server.generation.Registry", lambda: registry)
        async with (
            relaying(tmp_path, controller) as port,
            connected(port, agent_request()) as (_, agent),
            await RawClient.connect(port) as client,
        ):
            await client.send(plain)
            assert (await client.read_head()).status == 101
            other = End(client.stream, MASK, bytes(client.buffer))
            assert len(registry) == 2
            await registry.end_all(SessionEnd.of(Side.GATEWAY, Draining()))
            assert await agent.receive(1) == b""
            assert agent.close_code == 1012
            assert (await other.read_until(CLOSE))[1][:2] == (1012).to_bytes(2, "big")


FAILED = "Failed to disconnect the current client"


@pytest.mark.parametrize(
    ("node", "page", "is_one"),
    [
        ("my-agent", f"<h1>Oops!</h1><p>{FAILED}</p>", True),
        ("my-agent", FAILED, True),
        ("my-agent", f"<h2>HTTP ERROR 400 {FAILED}</h2>", True),
        ("my-agent", f"a.b.ConnectionRefusalException: {FAILED}\r\n\tat a.b.C.d(C.java:1)", True),
        ("my-agent", f"<p>Problem accessing /wsagents/?{FAILED}</p>", False),
        ("my-agent", f"<p>you said: {FAILED}</p>", False),
        (FAILED, f"<p>{FAILED}</p> is not an inbound agent", False),
    ],
)
async def test_pages_quote_what_strangers_send(
    node: str, page: str, is_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a takeover there is only where the controller itself says that the cookie was right."""
    seen: list[object] = []

    async def judge(self: object, claim: object) -> None:
        seen.append(claim)

    monkeypatch.setattr(Takeovers, "judge", judge)
    monkeypatch.setattr(takeover, "BUDGET", 0.1)
    controller = jenkins()
    controller.refusal = answer(b"500 Oops", page.encode())
    async with relaying(tmp_path, controller) as port:
        refused = await ask(port, agent_request({"Node-Name": node}))
    assert bool(seen) is is_one
    assert refused.status == (400 if is_one else 500)


async def test_a_remembered_cookie_is_of_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of a session by JNLP4; its agent may live with it, since ``auto`` chose WebSocket."""

    async def find(self: object, controller: str, node: str) -> str:
        return "0d" * 32

    monkeypatch.setattr(EndedCookies, "find", find)
    monkeypatch.setattr(takeover, "BUDGET", 0.8)
    controller = jenkins()
    said = b"my-agent is already connected to this controller. Rejecting this connection."
    controller.refusal = answer(b"400 Bad Request", said)
    async with relaying(tmp_path, controller) as port:
        await ask(port, agent_request({"Connection-Cookie": COOKIE}))
    presented = [each.get(b"connection-cookie") for each in controller.requests]
    assert presented == [COOKIE.encode()] * 2
