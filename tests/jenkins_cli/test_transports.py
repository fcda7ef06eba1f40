"""What is remembered of how controllers answered."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

from gateway.config.models import ControllerConfig
from gateway.jenkins_cli.transports import HTTP_TTL, CliTransports, lacks_websocket
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Headers


def controller(**cli: Any) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": "http://127.0.0.1:9/", "cli": cli})


@pytest.mark.parametrize(
    ("status", "expected"), [(404, True), (400, True), (401, False), (403, False), (503, False)]
)
def test_what_an_answer_says(status: int, expected: bool) -> None:
    assert lacks_websocket(ResponseHead(status, b"", b"1.1", Headers())) is expected


async def test_what_needs_no_finding_out() -> None:
    known = CliTransports()
    assert known.goes_by_http("a", controller(transport="http"))
    assert known.goes_by_http("a", controller(audit="commands"))
    assert not known.goes_by_http("a", controller())
    assert not known.goes_by_http("a", controller(transport="websocket"))


async def test_remembering(autojump_clock: trio.testing.MockClock) -> None:
    known = CliTransports()
    known.found_http("a", controller(), because=404)
    assert known.goes_by_http("a", controller())
    assert not known.goes_by_http("b", controller())
    assert not known.goes_by_http("a", controller(ssh_endpoint="drop")), "after a reload"
    assert not known.goes_by_http("a", controller(transport="websocket"))
    await trio.sleep(HTTP_TTL)
    assert not known.goes_by_http("a", controller())


async def test_forgetting() -> None:
    known = CliTransports()
    known.found_http("a", controller(), because=404)
    known.forget("a")
    known.forget("a")
    assert not known.goes_by_http("a", controller())
