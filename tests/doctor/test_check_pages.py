from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway.demo.agent_http import Answer, Target
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_pages import check_clock, check_login
from gateway.doctor.findings import Severity
from gateway.doctor.question import Question
from tests.doctor.conftest import Asking
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import running
from tests.peers.raw_origin import OriginConnection, answering


def page(status: str, body: str = "", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "Connection: close"]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body.encode()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (page("200 OK", "", "X-Jenkins: 2.516"), None),
        (page("200 OK", "ready for agents\n"), None),
        (page("200 OK", "<title>Sign in [Jenkins]</title>"), None),
        (page("200 OK", '<form><input type="password"></form>'), Cause.SSO),
        (page("200 OK", "<h1>It works!</h1>"), Cause.NOT_JENKINS),
        (page("403 Forbidden", "blocked"), Cause.FORBIDDEN_IN_FRONT),
        (page("404 Not Found"), Cause.WRONG_PREFIX),
        (page("418 Teapot"), Cause.NOT_JENKINS),
        (
            page("400 Bad Request", "The plain HTTP request was sent to HTTPS port"),
            Cause.NOT_HTTP,
        ),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", Cause.NOT_HTTP),
        (b"", Cause.NO_ANSWER),
        (page("502 Bad Gateway"), Cause.CONTROLLER_DOWN),
    ],
)
async def test_the_answer_to_a_probe(asking: Asking, answer: bytes, cause: Cause | None) -> None:
    async with asking(answering(answer)) as case:
        found = await check_login(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    assert case.is_ready is (cause is None)


async def test_a_gateway_is_looked_behind(asking: Asking) -> None:
    """To agents it says that the controller is not ready, to browsers what that one says."""

    async def script(connection: OriginConnection) -> None:
        request = await connection.read_request()
        if (request.get(b"User-Agent") or b"").startswith(b"Java/"):
            said = "X-Gateway-Error: the controller is not ready for agents"
            await connection.send(page("503 Service Unavailable", "", said))
        else:
            text = "Please wait while Jenkins is getting ready to work"
            await connection.send(page("503 Service Unavailable", text))

    async with asking(script) as case:
        (found,) = await check_login(case)
    assert found.cause is Cause.CONTROLLER_STARTING


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        # A plug-in for SSO in Jenkins itself: agents follow, and are content with any 200.
        (page("302 Found", "", "Location: /provider?x=1", "X-Jenkins: 2"), page("200 OK"), None),
        (page("301 Moved", "", "Location: /login/"), page("200 OK"), None),
        (
            page("302 Found", "", "Location: /provider", "X-Jenkins: 2"),
            page("403 Forbidden"),
            Cause.SSO,
        ),
        (
            page("302 Found", "", "Location: https://127.0.0.1/x", "X-Jenkins: 2"),
            page("200 OK"),
            Cause.REDIRECT_TO_HTTPS,
        ),
        (page("302 Found", "", "Location: /oauth2/start"), page("200 OK"), Cause.SSO),
        (
            page("302 Found", "", "Location: /login", "X-Jenkins: 2"),
            page("302 Found", "", "Location: /login"),
            Cause.REDIRECT_ELSEWHERE,
        ),
    ],
)
async def test_redirects_that_java_follows(
    asking: Asking, first: bytes, second: bytes, cause: Cause | None
) -> None:
    seen: list[bytes] = []

    async def script(connection: OriginConnection) -> None:
        seen.append((await connection.read_request()).line)
        await connection.send(first if len(seen) == 1 else second)

    async with asking(script) as case:
        found = await check_login(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    assert case.is_ready is (cause is None)


@pytest.mark.parametrize(
    ("answer", "cause", "words"),
    [
        (
            page("200 OK", "<title>Guests</title> on to http://jenkins.example.com/login"),
            Cause.NOT_JENKINS,
            "Guests on to",
        ),
        (page("200 OK", '<html><head data-rooturl="" data-resurl="/static/1">'), None, ""),
        (page("200 OK", "<title>Sign in - Jenkins</title>"), None, ""),
        (
            page("403 Forbidden", "", "X-Gateway-Error: not authorized"),
            Cause.FORBIDDEN_IN_FRONT,
            "allow_from",
        ),
        (
            page("404 Not Found", "", "X-Gateway-Error: no route for this path"),
            Cause.WRONG_PREFIX,
            "expose",
        ),
        (
            page("503 -", "", "X-Gateway-Error: the gateway is shutting down, try again"),
            Cause.GATEWAY_NOT_READY,
            "shutting down",
        ),
    ],
)
async def test_who_answers(asking: Asking, answer: bytes, cause: Cause | None, words: str) -> None:
    async with asking(answering(answer)) as case:
        found = await check_login(case)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    assert all(words in f"{each.title} {each.remedy} {each.seen}" for each in found)


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, None), (4, None), (-10, "ahead of"), (10, "behind")]
)
async def test_clocks(asking: Asking, minutes: int, words: str | None) -> None:
    now = datetime.now(UTC)
    stated = format_datetime(now + timedelta(minutes=minutes), usegmt=True)
    async with asking(answering(b"")) as case:
        case.login, case.login_at = Answer(200, "OK", (("Date", stated),)), now
        found = await check_clock(case)
        for odd in ("yesterday", f"Fri, 20 Nov {'9' * 20} 17:00:00 GMT"):
            case.login = Answer(200, "OK", (("Date", odd),))
            assert await check_clock(case) == []
    if words is None:
        assert found == []
        return
    (only,) = found
    assert only.severity is Severity.WARNING
    assert f"10 minutes {words} the server's" in only.title


async def test_other_addresses_are_asked_too(asking: Asking) -> None:
    good, bad = page("200 OK", "", "X-Jenkins: 2"), page("503 Service Unavailable")
    async with asking(answering(good)) as case, asking(answering(bad)) as other:
        here, there = ("127.0.0.1", case.question.target.port), other.question.target.port
        case.address, case.addresses = here, [here, ("127.0.0.1", there)]
        (found,) = await check_login(case)
    assert found.cause is Cause.ADDRESS_DOWN
    assert "503" in found.seen[0]
    assert case.is_ready


async def test_the_agent_port_is_no_url() -> None:
    async with running(Jenkins()) as jenkins:
        target = Target("http", *jenkins.agents.agent_address, "/")
        (found,) = await check_login(Case(question=Question(target)))
    assert found.cause is Cause.NOT_HTTP
    assert "is Jenkins' TCP agent port" in found.title
