"""What the simulated agent writes is what real agents were recorded to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.agent_http import Answer, Target, is_newer, login_request, upgrade_request
from gateway.demo.wire import capability_ascii

SUMMARY: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "wire-summary.json").read_text()
)
REQUESTS = [
    pytest.param(connection["request"], id=f"{name}-{index}")
    for name, scenario in SUMMARY.items()
    if name.startswith("ws-")
    for index, connection in enumerate(scenario["connections"])
]


def test_there_are_recorded_requests() -> None:
    assert len(REQUESTS) >= 20


@pytest.mark.parametrize("request_lines", REQUESTS)
def test_requests_byte_for_byte(request_lines: list[str]) -> None:
    recorded = "\r\n".join([*request_lines, "", ""]).encode("latin-1")
    headers = dict(line.split(": ", 1) for line in request_lines[1:])
    target = Target.parse(f"http://{headers['Host']}")
    if request_lines[0] == "GET /login HTTP/1.1":
        assert login_request(target) == recorded
        return
    written = upgrade_request(
        target,
        key=headers["Sec-WebSocket-Key"],
        node=headers["Node-Name"],
        secret=headers["Secret-Key"],
        capability=capability_ascii(0x1FE),
        cookie=headers.get("Connection-Cookie"),
    )
    assert written == recorded


def lines(request: bytes) -> list[str]:
    """Take a head apart."""
    return request.decode("latin-1").split("\r\n")


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://ci.example", "ci.example", "/"),
        ("http://ci.example:80/", "ci.example", "/"),
        ("https://ci.example:443/", "ci.example", "/"),
        ("https://ci.example:8443/jenkins", "ci.example:8443", "/jenkins/"),
        ("http://[::1]:8080/jenkins/", "[::1]:8080", "/jenkins/"),
    ],
)
def test_targets(url: str, host: str, path: str) -> None:
    target = Target.parse(url)
    written = lines(login_request(target))
    assert written[0] == f"GET {path}login HTTP/1.1"
    assert f"Host: {host}" in written
    upgrade = lines(
        upgrade_request(target, key="k", node="n", secret="s", capability="c", cookie=None)
    )
    assert upgrade[0] == f"GET {path}wsagents/ HTTP/1.1"
    assert f"Host: {host}" in upgrade


@pytest.mark.parametrize("url", ["ws://ci.example/", "ci.example", "http:///x"])
def test_what_is_not_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Target.parse(url)


def test_names_are_latin_1_and_the_rest_is_a_question_mark() -> None:
    request = upgrade_request(
        Target.parse("http://x"), key="k", node="ü€", secret="s", capability="c", cookie=None
    )
    assert b"\r\nNode-Name: \xfc?\r\n" in request


def test_user_headers_add_and_overwrite() -> None:
    request = upgrade_request(
        Target.parse("http://x"),
        key="k",
        node="n",
        secret="s",
        capability="c",
        cookie=None,
        extra=[("X-Token", "t"), ("Secret-Key", "mine")],
    )
    assert lines(request)[-3:] == ["X-Token: t", "", ""]
    assert "Secret-Key: mine" in lines(request)
    assert "Secret-Key: s" not in lines(request)


def test_header_lookup() -> None:
    found = Answer(200, "OK", (("X-A", "1"), ("x-a", "2")))
    assert found.header("x-A") == "1"
    assert found.header("X-B") is None


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("3355.v388858a_47b_33", "3107.v665000b_51092", True),
        ("3107.v665000b_51092", "3355.v388858a_47b_33", False),
        ("3107.v665000b_51092", "3107.v665000b_51092", False),
        ("4.2.1", "3355.v388858a_47b_33", False),
        ("3176.v207ec082a_8c0", "4.14", True),
        ("4.2.1", "4.2", True),
        ("4.2", "4.2.0", False),
        ("4.10", "4.9", True),
        ("3.14", "4.0", False),
    ],
)
def test_versions(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer
