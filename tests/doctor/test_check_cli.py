from __future__ import annotations

import pytest

from gateway.doctor.causes import Cause
from gateway.doctor.check_cli import check_buffering, check_origin
from tests.doctor.conftest import Asking
from tests.doctor.test_check_pages import page
from tests.peers.raw_origin import answering

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
        (page("404 Not Found"), None),
        (page("400 Bad Request", "only WS connections accepted here"), Cause.UPGRADE_STRIPPED),
    ],
)
async def test_the_answer_to_an_origin(asking: Asking, answer: bytes, cause: Cause | None) -> None:
    async with asking(answering(answer)) as case:
        found = await check_origin(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])


async def test_the_cli_over_http_may_be_missing(asking: Asking) -> None:
    async with asking(answering(page("403 Forbidden"))) as case:
        assert await check_buffering(case) == []
        assert case.saw == "not offered here (403)"
