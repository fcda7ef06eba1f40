"""What controllers say about the CLI before a client comes."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.config.models import ControllerConfig
from gateway.jenkins_cli.probe import CliWay, ask_about_cli
from tests.peers.raw_origin import RawOrigin, answering

REMEDY = "set controllers.main.jenkins_url to the Jenkins URL that is set in Jenkins"
UNEXPECTED = b"X-CLI-Error: Unexpected request origin (check your reverse proxy settings)\r\n"
DISABLED = b"X-CLI-Error: WebSocket support for CLI disabled for this controller\r\n"


def controller(url: str | None, **keys: Any) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": url, **keys})


@pytest.mark.parametrize(
    ("keys", "status", "field", "expected"),
    [
        ({}, b"400 Bad Request", b"", CliWay("websocket", "/cli/ws is there")),
        ({}, b"404 Not Found", b"", CliWay("http", "it has no /cli/ws")),
        (
            {"cli": {"transport": "websocket"}},
            b"404 Not Found",
            b"",
            CliWay("none", "it has no /cli/ws; transport: auto translates"),
        ),
        (
            {},
            b"403 Forbidden",
            UNEXPECTED,
            CliWay("websocket", f"it wants to know the origin; {REMEDY}"),
        ),
        (
            {"jenkins_url": "https://ci.example.com/"},
            b"403 Forbidden",
            UNEXPECTED,
            CliWay("websocket", f"it refuses https://ci.example.com; {REMEDY}", is_refused=True),
        ),
        (
            {},
            b"403 Forbidden",
            DISABLED,
            CliWay(
                "unknown",
                "it answered 403: WebSocket support for CLI disabled for this controller",
            ),
        ),
    ],
)
async def test_answers(keys: dict[str, Any], status: bytes, field: bytes, expected: CliWay) -> None:
    origin = RawOrigin(answering(b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\n\r\n" % (status, field)))
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        url = f"http://127.0.0.1:{origin.port}/"
        assert await ask_about_cli("main", controller(url, **keys)) == expected
        nursery.cancel_scope.cancel()
    (asked,) = origin.requests
    wanted = b"https://ci.example.com" if "jenkins_url" in keys else None
    assert asked.get(b"origin") == wanted
    assert asked.get(b"upgrade") is None


@pytest.mark.parametrize(
    ("url", "keys", "way"),
    [
        (None, {}, "none"),
        ("http://127.0.0.1:1/", {}, "unknown"),
        ("http://127.0.0.1:1/", {"cli": {"transport": "http"}}, "http"),
        ("http://127.0.0.1:1/", {"cli": {"audit": "commands"}}, "http"),
    ],
)
async def test_what_needs_no_answer(url: str | None, keys: dict[str, Any], way: str) -> None:
    assert (await ask_about_cli("main", controller(url, **keys))).way == way
