from __future__ import annotations

import pytest
import trio

from gateway.doctor.causes import Cause
from gateway.doctor.check_cli import check_buffering, check_origin
from gateway.jenkins_cli.probe import remedy
from tests.doctor.conftest import Asking
from tests.doctor.test_check_pages import page
from tests.peers.raw_origin import OriginConnection, answering

JENKINS = "X-Jenkins: 2.516"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (page("403 Forbidden", "", "X-CLI-Error: Unexpected request origin"), Cause.CLI_ORIGIN),
        (page("403 Forbidden", "", "X-CLI-Error: Jenkins URL is not configured"), Cause.CLI_ORIGIN),
        (page("403 Forbidden", "", JENKINS), Cause.CLI_ORIGIN),  # before 2.485
        (page("403 Forbidden", "", "X-CLI-Error: WebSocket support for CLI disabled"), None),
        (page("403 Forbidden", "a firewall"), None),
        (page("403 Forbidden", "", "X-Gateway-Error: not authorized"), None),
        (
            page(
                "403 Forbidden",
                "",
                "X-Gateway-Error: Unexpected request origin",
                "X-CLI-Error: Unexpected request origin",
            ),
            Cause.CLI_ORIGIN,
        ),
        (page("404 Not Found"), None),
        (page("503 Service Unavailable", "no server"), Cause.CONTROLLER_DOWN),
        (page("400 Bad Request", "only WS connections accepted here"), Cause.UPGRADE_STRIPPED),
    ],
)
async def test_the_answer_to_an_origin(asking: Asking, answer: bytes, cause: Cause | None) -> None:
    async with asking(answering(answer)) as case:
        found = await check_origin(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])


async def test_a_gateway_names_its_own_setting(asking: Asking) -> None:
    """As ``gateway.jenkins_cli`` passes a controller's refusal on."""
    said = f"Unexpected request origin; gateway: {remedy('ci')}"
    async with asking(answering(page("403 Forbidden", "", f"X-CLI-Error: {said}"))) as case:
        (found,) = await check_origin(case)
    assert found.title.startswith("the controller refuses the Origin that the gateway gives it")
    assert "set controllers.ci.jenkins_url to" in found.remedy


async def test_an_upload_that_is_not_let_in(asking: Asking) -> None:
    """The download flows, and whoever connects after it is refused."""
    flowing = trio.Event()

    async def script(connection: OriginConnection) -> None:
        if flowing.is_set():
            return
        await connection.read_head()
        flowing.set()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n"
        )
        await trio.sleep_forever()

    async with asking(script) as case:
        assert await check_buffering(case) == []
    assert case.saw in ("the upload was refused", "the command said nothing")


async def test_a_download_without_end_is_not_kept(asking: Asking) -> None:
    async def script(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            await connection.send(b"10000\r\n" + bytes(65536) + b"\r\n")

    async with asking(script) as case:
        assert await check_buffering(case) == []


async def test_the_cli_over_http_may_be_missing(asking: Asking) -> None:
    async with asking(answering(page("403 Forbidden"))) as case:
        assert await check_buffering(case) == []
        assert case.saw == "not offered here (403)"
