"""``/wsagents/``: what the request alone decides (PROTOCOLS A.3 rows 1, 5, 7, 8 and 9, K.1).

Every row by a real socket, and none of them may reach the controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import LogCapture

from gateway.transport import stream
from gateway.transport.stream import PeerAddress
from tests.agents.bridge import (
    CAPABILITY,
    COOKIE,
    SECRET,
    FieldValue,
    agent_request,
    ask,
    bridged,
    check_refusal,
    connected,
    everything_logged,
    make_config,
    running_gateway,
)
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import ScriptedController

ONLY_AGENTS: Final = "This endpoint is only for use from agent.jar in WebSocket mode"
ONLY_WEBSOCKET: Final = "only WS connections accepted here"
NO_UPGRADE: Final = "did not manage to upgrade"
NOT_HEX: Final = "Connection-Cookie is not hexadecimal"
NOT_BASE64: Final = "X-Remoting-Capability is not Base64"
WITH_BODY: Final = "an upgrade request must not have a body"
BROWSER: Final[dict[str, FieldValue]] = {
    "Connection": "keep-alive",
    "Upgrade": None,
    "Sec-WebSocket-Version": None,
    "Sec-WebSocket-Key": None,
    "Node-Name": None,
    "Secret-Key": None,
    "X-Remoting-Capability": None,
    "Connection-Cookie": None,
}


@dataclass(frozen=True)
class Row:
    """A request that is an agent's but for ``changes`` and ``more``, and what it is told."""

    name: str
    changes: dict[str, FieldValue]
    text: str
    status: int = 400
    cookie: str | None = COOKIE
    more: bytes = b""
    version: str = "HTTP/1.1"

    def __str__(self) -> str:
        return self.name


def twice(name: str, value: str) -> Row:
    more = f"{name}: {value}\r\n".encode()
    return Row(f"{name} twice", {}, f"{name.lower()} is given twice", more=more)


ROWS: Final = [
    # A.3 row 1
    Row("no Node-Name", {"Node-Name": None}, ONLY_AGENTS),
    Row("no Secret-Key", {"Secret-Key": None}, ONLY_AGENTS),
    Row("no capability", {"X-Remoting-Capability": None}, ONLY_AGENTS),
    Row("a browser", BROWSER, ONLY_AGENTS, cookie=None),
    Row("none of the three", {**BROWSER, "Connection-Cookie": COOKIE}, ONLY_AGENTS),
    # row 5, by hudson.Util.fromHexString: an agent drops a cookie that is not given back
    Row("cookie of letters", {"Connection-Cookie": "xyz0"}, NOT_HEX, cookie=None),
    Row("cookie with a space", {"Connection-Cookie": "00 ff"}, NOT_HEX, cookie=None),
    Row("cookie of half a byte", {"Connection-Cookie": "abc"}, NOT_HEX, cookie=None),
    Row("empty cookie", {"Connection-Cookie": ""}, NOT_HEX, cookie=None),
    Row("huge cookie", {"Connection-Cookie": "00" * 129}, NOT_HEX, cookie=None),
    Row("cookie of other digits", {"Connection-Cookie": b"\xb2\xb3"}, NOT_HEX, cookie=None),
    # row 7
    Row("capability of dashes", {"X-Remoting-Capability": "----"}, NOT_BASE64),
    Row("capability cut short", {"X-Remoting-Capability": CAPABILITY[:-1]}, NOT_BASE64),
    Row("empty capability", {"X-Remoting-Capability": ""}, NOT_BASE64),
    Row("capability with a space", {"X-Remoting-Capability": "rO0A BXNy"}, NOT_BASE64),
    Row("capability beyond ASCII", {"X-Remoting-Capability": b"rO0\xfc"}, NOT_BASE64),
    Row("capability of padding", {"X-Remoting-Capability": "===="}, NOT_BASE64),
    Row(
        "capability above 1 KiB",
        {"X-Remoting-Capability": "A" * 1028},
        "X-Remoting-Capability is longer than 1 KiB",
    ),
    # row 8
    Row("no Upgrade", {"Upgrade": None}, ONLY_WEBSOCKET),
    Row("another Upgrade", {"Upgrade": "websockets"}, ONLY_WEBSOCKET),
    # row 9
    Row("no Connection", {"Connection": None}, NO_UPGRADE),
    Row("another Connection", {"Connection": "keep-alive"}, NO_UPGRADE),
    Row("no key", {"Sec-WebSocket-Key": None}, NO_UPGRADE),
    Row("key that is no Base64", {"Sec-WebSocket-Key": "%%%"}, NO_UPGRADE),
    Row("no version", {"Sec-WebSocket-Version": None}, NO_UPGRADE),
    Row("version 8", {"Sec-WebSocket-Version": "8"}, NO_UPGRADE),
    Row("HTTP/1.0", {}, NO_UPGRADE, version="HTTP/1.0"),
    Row("a body", {"Content-Length": "5"}, WITH_BODY),
    Row("a chunked body", {"Transfer-Encoding": "chunked"}, WITH_BODY),
    # the order of the rows
    Row("row 1 before 5", {"Node-Name": None, "Connection-Cookie": "x"}, ONLY_AGENTS, cookie=None),
    Row(
        "row 5 before 7",
        {"Connection-Cookie": "x", "X-Remoting-Capability": "-"},
        NOT_HEX,
        cookie=None,
    ),
    Row("row 7 before 8", {"X-Remoting-Capability": "-", "Upgrade": None}, NOT_BASE64),
    Row("row 8 before 9", {"Upgrade": None, "Sec-WebSocket-Version": "8"}, ONLY_WEBSOCKET),
    # what two recipients could read differently
    twice("Node-Name", "other"),
    twice("Secret-Key", "00"),
    twice("X-Remoting-Capability", CAPABILITY),
    twice("Connection-Cookie", COOKIE),
    # K.5 item 2
    Row(
        "long name",
        {"Node-Name": "n" * 1025},
        "Node-Name or Secret-Key is longer than 1 KiB",
    ),
    Row(
        "long secret",
        {"Secret-Key": "5" * 1025},
        "Node-Name or Secret-Key is longer than 1 KiB",
    ),
    Row(
        "name with a tab",
        {"Node-Name": "my\tagent"},
        "Node-Name or Secret-Key holds a control character",
    ),
    Row(
        "name with a C1 control",
        {"Node-Name": b"my\x9bagent"},
        "Node-Name or Secret-Key holds a control character",
    ),
    Row(
        "secret with a tab",
        {"Secret-Key": "5ec\t7e7"},
        "Node-Name or Secret-Key holds a control character",
    ),
    # the gate's: nothing of such a head is believed, so no cookie is found in it either
    Row("name with NUL", {"Node-Name": "my\0agent"}, "control character in a field", cookie=None),
    Row("name with DEL", {"Node-Name": "my\x7fagent"}, "control character in a field", cookie=None),
    Row("name with ESC", {"Node-Name": "\x1b[2J"}, "control character in a field", cookie=None),
    Row("h2c", {"Upgrade": "h2c"}, "h2c is not implemented here", status=501, cookie=None),
]


@pytest.mark.parametrize(
    ("prefix", "target"),
    [("", "/wsagents/"), ("", "/wsagents"), ("/jenkins", "/jenkins/wsagents/")],
)
async def test_what_the_request_alone_decides(
    prefix: str, target: str, tmp_path: Path, log: LogCapture
) -> None:
    """One gateway for all rows; each has a connection of its own."""
    controller = ScriptedController(prefix=prefix)
    async with bridged(tmp_path, controller) as port:
        for row in ROWS:
            request = agent_request(
                {"Connection-Cookie": COOKIE, **row.changes},
                target=target,
                version=row.version,
                more=row.more,
            )
            answer = await ask(port, request)
            try:
                check_refusal(answer, log, row.status, row.text, cookie=row.cookie)
            except AssertionError as error:
                raise AssertionError(f"{row}: {error}") from error
        assert controller.connections == 0
        assert controller.requests == []
    # A request that is refused was still full of secrets.
    logged = everything_logged(log)
    assert SECRET not in logged
    assert COOKIE not in logged
    assert CAPABILITY[:20] not in logged


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"])
async def test_other_methods(method: str, tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        request = agent_request({"Connection-Cookie": COOKIE}, method=method)
        answer = await ask(port, request)
        assert answer.status == 405
        assert answer.get(b"allow") == b"GET"
        assert answer.get(b"x-gateway-error") == b"method not allowed"
        assert answer.get(b"connection-cookie") == COOKIE.encode()
        error_id = answer.get(b"x-gateway-error-id")
        assert error_id is not None
        assert [entry.get("error_id") for entry in log.entries] == [error_id.decode()]
        assert controller.connections == 0


@pytest.mark.parametrize("target", ["/wsagents/x", "/other/wsagents/", "/jenkins/wsagents/"])
async def test_paths_without_a_route(target: str, tmp_path: Path, log: LogCapture) -> None:
    """The gateway serves one context path only; below it, /wsagents/ has nothing."""
    controller = ScriptedController(prefix="/prefix")
    async with bridged(tmp_path, controller) as port:
        for path in (target, "/prefix" + target if target.endswith("x") else target):
            answer = await ask(port, agent_request({"Connection-Cookie": COOKIE}, target=path))
            check_refusal(answer, log, 404, "no route for this path", cookie=COOKIE)
        assert controller.connections == 0
        assert controller.requests == []


@pytest.mark.parametrize(
    "target",
    ["//wsagents/", "/%77sagents/", "/x/../wsagents/", "/wsagents;x/", "/static/x/wsagents/"],
)
async def test_other_spellings_of_the_path(target: str, tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": COOKIE}, target=target))
        text = "the path of an agents' endpoint must be written plainly"
        check_refusal(answer, log, 400, text, cookie=COOKIE)
        assert controller.connections == 0
        assert controller.requests == []


async def test_a_host_that_is_not_served(tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    routes = [{"id": "main", "host": "jenkins.example.com", "controller": "main"}]
    async with bridged(tmp_path, controller, routes=routes) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
        check_refusal(answer, log, 421, "this host is not served here", cookie=COOKIE)
        request = agent_request({"Host": "Jenkins.Example.com:8443"})
        assert (await ask(port, request)).status == 101


async def test_a_refused_agent_may_ask_again_on_its_connection(
    tmp_path: Path, log: LogCapture
) -> None:
    """Nothing about a refusal breaks the connection's framing."""
    async with (
        bridged(tmp_path, ScriptedController()) as port,
        await RawClient.connect(port) as client,
    ):
        answer = await client.ask(agent_request({"Upgrade": None}))
        check_refusal(answer, log, 400, ONLY_WEBSOCKET)
        answer = await client.ask(agent_request({"Node-Name": None}))
        check_refusal(answer, log, 400, ONLY_AGENTS)
        await client.send(agent_request())
        assert (await client.read_head()).status == 101


# -- what is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"agent \xfc", "agent ü"),
        (b"\xe9t\xe9\xa0\xff", "été\u00a0ÿ"),
        (b'with "quotes" and \\', 'with "quotes" and \\'),
        (b"{}:,/<>", "{}:,/<>"),
        (b"", ""),
        (b"n" * 1024, "n" * 1024),
        (b"\xfc" * 1024, "ü" * 1024),
    ],
)
async def test_names_are_latin_1_and_reach_the_controller_as_utf_8(
    name: bytes, text: str, tmp_path: Path
) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request({"Node-Name": name}))
        assert answer.status == 101
        visit = await controller.wait_for_agents()
        assert visit.headers["Node-Name"] == text
        if "ü" in text:
            assert "ü".encode() in visit.header_bytes, "raw UTF-8, as remoting writes it"


@pytest.mark.parametrize(
    "capability",
    [
        "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAB4=",
        "AAAA",  # not a capability at all, but Base64: the controller's business
        "rO0=BXM=AA==",  # padded in groups: BinarySafeStream flushes in the middle
        "+/+/",
        "A" * 1024,
    ],
)
async def test_odd_capabilities_are_passed_on_byte_for_byte(
    capability: str, tmp_path: Path
) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        request = agent_request({"X-Remoting-Capability": capability})
        async with connected(port, request) as (_, agent):
            await agent.close()
        visit = await controller.wait_for_agents()
        assert visit.capability == capability


async def test_header_lines_as_tyrus_writes_them(tmp_path: Path) -> None:
    """Without a space behind the colon, names and tokens in any case, a wrong Origin."""
    controller = ScriptedController()
    changes: dict[str, FieldValue] = {
        "Upgrade": "WebSocket",
        "Connection": "keep-alive, upgrade",
        "Origin": "gateway.test:8443",
        "Node-Name": None,
        "node-NAME": "my-agent",
        "Secret-Key": None,
        "SECRET-KEY": SECRET,
    }
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request(changes, colon=b":"))
        assert answer.status == 101
        visit = await controller.wait_for_agents()
        assert visit.headers == {"Node-Name": "my-agent", "Secret-Key": SECRET}


# -- listeners without TLS ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "more", "served"),
    [
        ("127.0.0.1", {}, True),
        ("127.8.9.10", {}, True),
        ("::1", {}, True),
        ("198.51.100.7", {}, False),
        ("fe80::1%eth0", {}, False),
        ("198.51.100.7", {"trusted_proxies": ["198.51.100.0/24"]}, True),
        ("2001:db8::7", {"trusted_proxies": ["198.51.100.0/24", "2001:db8::/32"]}, True),
        ("198.51.101.7", {"trusted_proxies": ["198.51.100.0/24"]}, False),
        ("198.51.100.7", {"listener": {"plain_agents": True}}, True),
    ],
)
async def test_without_tls_secrets_are_taken_from_near_only(
    peer: str,
    more: dict[str, object],
    served: bool,
    tmp_path: Path,
    log: LogCapture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "_peer_of", lambda _: PeerAddress(peer, 40_000))
    controller = ScriptedController()
    async with bridged(tmp_path, controller, **more) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
        if served:
            assert answer.status == 101
        else:
            check_refusal(answer, log, 400, "use https", cookie=COOKIE)
            assert controller.connections == 0


async def test_a_claim_to_have_used_https_does_not_help(
    tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_peer_of", lambda _: PeerAddress("198.51.100.7", 40_000))
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        claims: dict[str, FieldValue] = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "127.0.0.1",
            "Forwarded": "for=127.0.0.1;proto=https",
        }
        check_refusal(await ask(port, agent_request(claims)), log, 400, "use https")
        assert controller.connections == 0


async def test_a_gateway_without_its_controller_still_judges(
    tmp_path: Path, log: LogCapture
) -> None:
    """Port 9 of loopback: nobody is there, and nobody is asked."""
    async with running_gateway(make_config(tmp_path, "http://127.0.0.1:9/")) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": COOKIE, "Upgrade": None}))
        check_refusal(answer, log, 400, ONLY_WEBSOCKET, cookie=COOKIE)
