from __future__ import annotations

import pytest

from gateway.doctor.causes import Cause
from gateway.doctor.check_paths import check_forwarded, check_header_limit, check_slashes
from tests.doctor.conftest import Asking
from tests.doctor.test_check_pages import page
from tests.peers.raw_origin import OriginConnection, Script


def by_target(**pages: bytes) -> Script:
    """Return a script that answers by a word in the target; ``other`` is for the rest."""

    async def script(connection: OriginConnection) -> None:
        line = (await connection.read_request()).line.decode()
        for word, answer in pages.items():
            if word in line:
                await connection.send(answer)
                return
        await connection.send(pages["other"])

    return script


NOTHING = page("404 Not Found", "", "X-Jenkins: 2.516")
MOVED = "302 Found"


@pytest.mark.parametrize(
    ("inferred", "cause", "words"),
    [
        ("{url}", None, ""),
        ("https://127.0.0.1:{port}/", Cause.FORWARDED_WRONG, "X-Forwarded-Proto"),
        ("http://inner:{port}/", Cause.FORWARDED_WRONG, "the Host"),
        ("http://127.0.0.1:8080/", Cause.FORWARDED_WRONG, "the port"),
        ("http://127.0.0.1:443,8080/", Cause.FORWARDED_WRONG, "arrives twice"),
    ],
)
@pytest.mark.parametrize("how", ["self-test", "redirect"])
async def test_what_jenkins_believes(
    asking: Asking, inferred: str, cause: Cause | None, words: str, how: str
) -> None:
    url = ""

    async def script(connection: OriginConnection) -> None:
        line = (await connection.read_request()).line.decode()
        if "testForReverseProxySetup" in line:
            text = f"<p>{inferred.format(url=url, port=port)}manage vs. {url}manage/</p>"
            answer = page("404 Not Found", text) if how == "self-test" else page("403 Forbidden")
        else:
            where = inferred.format(url=url, port=port)
            answer = page(MOVED, "", f"Location: {where}tcpSlaveAgentListener/")
        await connection.send(answer)

    async with asking(script) as case:
        url, port = case.question.url, case.question.target.port
        found = await check_forwarded(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    assert all(words in each.title for each in found)


async def test_a_path_that_did_not_arrive_whole(asking: Asking) -> None:
    text = "http://127.0.0.1/manage vs. http:"
    script = by_target(testFor=page("404 Not Found", text), other=NOTHING)
    async with asking(script) as case:
        (found,) = await check_forwarded(case)
    assert found.cause is Cause.SLASH_DECODED


async def test_what_jenkins_does_not_say(asking: Asking) -> None:
    async with asking(by_target(other=page("403 Forbidden"))) as case:
        assert await check_forwarded(case) == []
        assert "--user" in case.saw


@pytest.mark.parametrize(
    ("coded", "cause"),
    [
        (NOTHING, None),
        (page("404 Not Found", "<h1>Not Found</h1>", "Content-Type: text/html"), True),
        (page("400 Bad Request"), True),
        (page("400 Bad Request", "", "X-Gateway-Error: spelled oddly"), None),
    ],
)
async def test_slashes_that_are_refused(asking: Asking, coded: bytes, cause: bool | None) -> None:
    async with asking(
        by_target(gateway_doctor=NOTHING, **{"way%2F": coded}, other=NOTHING)
    ) as case:
        found = await check_slashes(case)
    assert [each.cause for each in found] == ([Cause.SLASH_REFUSED] if cause else [])


async def test_slashes_that_are_decoded(asking: Asking) -> None:
    script = by_target(**{"login%2F": page("200 OK", "", "X-Jenkins: 2.516")}, other=NOTHING)
    async with asking(script) as case:
        (found,) = await check_slashes(case)
    assert found.cause is Cause.SLASH_DECODED


@pytest.mark.parametrize("limit", [1000, 4096, 7000, 8192])
async def test_the_limit_is_measured(asking: Asking, limit: int) -> None:
    async def script(connection: OriginConnection) -> None:
        head = (await connection.read_request()).head
        refused = page("400 Bad Request", "Request Header Or Cookie Too Large")
        await connection.send(page("200 OK") if len(head) <= limit else refused)

    async with asking(script) as case:
        found = await check_header_limit(case)
    if limit > 7500:
        assert found == []
        return
    (only,) = found
    assert only.cause is Cause.HEADER_LIMIT
    assert abs(float(only.title.split()[3]) * 1024 - limit) < 250
