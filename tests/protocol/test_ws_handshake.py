"""Tests of ``gateway.protocol.ws_handshake``."""

from __future__ import annotations

import base64

import pytest
from wsproto.utilities import generate_accept_token

from gateway.errors import UpgradeRefused, outcome_of
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers
from gateway.protocol.ws_handshake import accept_value, check_upgrade, upgrade_answer
from tests.recordings import load, summary

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
GOOD = {
    b"Host": b"jenkins.example.com",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def request(
    changed: dict[bytes, bytes | None] | None = None,
    *more: tuple[bytes, bytes],
    version: bytes = b"1.1",
) -> RequestHead:
    """Return a good request with some headers ``changed`` (None removes) and ``more`` added."""
    headers = [
        (name, value) for name, value in ({**GOOD, **(changed or {})}).items() if value is not None
    ]
    return RequestHead(b"GET", b"/wsagents/", version, Headers([*headers, *more]))


def recorded_head(lines: list[str]) -> RequestHead:
    method, target, version = lines[0].encode().split(b" ")
    fields = [tuple(line.encode("latin-1").split(b": ", 1)) for line in lines[1:]]
    return RequestHead(
        method, target, version.removeprefix(b"HTTP/"), Headers([(n, v) for n, v in fields])
    )


def test_accept_value_of_the_rfc() -> None:
    assert accept_value(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert check_upgrade(request()) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_accept_value_agrees_with_wsproto() -> None:
    for seed in range(20):
        key = base64.b64encode(bytes((seed * 13 + i) & 0xFF for i in range(16)))
        assert accept_value(key) == generate_accept_token(key)


def test_recorded_agents() -> None:
    """What Tomcat answered to real agents."""
    for scenario, connection in summary("ws"):
        accepts = [
            line.partition(": ")[2].encode()
            for line in connection["response"]
            if line.startswith("Sec-WebSocket-Accept: ")
        ]
        assert [check_upgrade(recorded_head(connection["request"]))] == accepts, scenario


@pytest.mark.parametrize("scenario", ["ws-wrong-secret", "ws-unknown-node", "ws-reject"])
def test_recorded_agents_that_were_refused(scenario: str) -> None:
    """They asked well: the reason was another one."""
    for connection in load(scenario)["connections"]:
        if connection["request"][0].startswith("GET /wsagents/"):
            assert check_upgrade(recorded_head(connection["request"]))
        else:
            with pytest.raises(UpgradeRefused, match="only WS connections accepted here"):
                check_upgrade(recorded_head(connection["request"]))


@pytest.mark.parametrize(
    "changed",
    [
        {b"Upgrade": b"WebSocket"},
        {b"Upgrade": b"h2c, websocket"},
        {b"Connection": b"keep-alive, Upgrade"},
        {b"Connection": b"UPGRADE"},
        {b"Connection": b"upgrade ,keep-alive"},
    ],
)
def test_spellings(changed: dict[bytes, bytes | None]) -> None:
    assert check_upgrade(request(changed)) == accept_value(KEY)


def test_lists_may_be_spread_over_several_fields() -> None:
    head = request({b"Connection": b"keep-alive"}, (b"Connection", b"upgrade"))
    assert check_upgrade(head) == accept_value(KEY)


@pytest.mark.parametrize(
    "upgrade", [None, b"", b"websockets", b"h2c", b"web socket", b"websocket/13"]
)
def test_no_upgrade(upgrade: bytes | None) -> None:
    """PROTOCOLS A.3 row 8; Jenkins' own sentence."""
    with pytest.raises(UpgradeRefused) as caught:
        check_upgrade(request({b"Upgrade": upgrade}))
    assert caught.value.public == "only WS connections accepted here"
    assert outcome_of(caught.value).status == 400


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (request(version=b"1.0"), "HTTP/1.0"),
        (request({b"Connection": None}), "Connection"),
        (request({b"Connection": b"keep-alive"}), "Connection"),
        (request({b"Connection": b"upgraded"}), "Connection"),
        (request({b"Sec-WebSocket-Version": None}), "Version"),
        (request({b"Sec-WebSocket-Version": b"8"}), "Version"),
        (request({b"Sec-WebSocket-Version": b"13, 8"}), "Version"),
        (request({}, (b"Sec-WebSocket-Version", b"13")), "Version"),
        (request({b"Sec-WebSocket-Key": None}), "Key"),
        (request({b"Sec-WebSocket-Key": b""}), "Key"),
        (request({b"Sec-WebSocket-Key": base64.b64encode(bytes(65))}), "Key"),
        (request({b"Sec-WebSocket-Key": KEY[:-1]}), "Key"),
        (request({b"Sec-WebSocket-Key": b"%" + KEY[1:]}), "Key"),
        (request({b"Sec-WebSocket-Key": KEY[:4] + b" " + KEY[4:]}), "Key"),
        (request({b"Sec-WebSocket-Key": b"\xff" * 24}), "Key"),
        (request({}, (b"Sec-WebSocket-Key", KEY)), "Key"),
    ],
)
def test_bad_upgrades(head: RequestHead, reason: str) -> None:
    """PROTOCOLS A.3 row 9: one sentence for the agent, the reason for the log."""
    with pytest.raises(UpgradeRefused) as caught:
        check_upgrade(head)
    assert caught.value.public == "did not manage to upgrade"
    assert reason in caught.value.detail
    assert outcome_of(caught.value).status == 400


def test_origin_is_not_looked_at() -> None:
    """Old agents send the wrong scheme (PROTOCOLS A.2)."""
    assert check_upgrade(request({}, (b"Origin", b"http://elsewhere.example")))


def test_answer() -> None:
    assert upgrade_answer(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]


def test_the_recipes_for_trying_by_hand_work() -> None:
    """PROTOCOLS A.2: 13 bytes, which RFC 6455 does not allow and every server takes."""
    head = request({b"Sec-WebSocket-Key": b"SGVsbG8sIHdvcmxkIQ=="})
    assert check_upgrade(head) == b"qGEgH3En71di5rrssAZTmtRTyFk="
