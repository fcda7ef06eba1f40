"""The page through the admin listener: real sockets, real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from gateway.config.admin import AdminConfig
from gateway.config.values import Secret
from gateway.server.admin.page import live, routing
from gateway.server.admin.page.pages import StatusPage
from gateway.server.admin.page.routing import page_routes
from gateway.server.admin.routes import Access, Route
from tests.certificates import client_context, issue
from tests.server.admin.asking import LOOPBACK, Admin, Said, request, say, serving
from tests.server.admin.page.snapshots import snapshot
from tests.server.admin.page.source import ScriptedSource
from tests.server.admin.test_listener import with_certificates

TOKEN = "a-made-up-token-of-tests"
OPEN = AdminConfig(listen=LOOPBACK)
CLOSED = AdminConfig(listen=LOOPBACK, token=Secret(TOKEN))
FORM = "Content-Type: application/x-www-form-urlencoded"
OURS = "Sec-Fetch-Site: same-origin"


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def page(source: ScriptedSource) -> StatusPage:
    return StatusPage(source)


async def kick(admin: Admin, session: str, *, fields: tuple[str, ...] = (OURS,)) -> Any:
    question = await admin.ask(target=f"/kick?session={session}")
    cookie = question.fields["set-cookie"].partition(";")[0]
    token = question.body.partition(b'name="token" value="')[2].partition(b'"')[0].decode()
    body = f"session={session}&token={token}".encode()
    return await admin.ask("POST", "/kick", body=body, fields=[FORM, f"Cookie: {cookie}", *fields])


async def test_pages(page: StatusPage) -> None:
    async with serving(OPEN, page_routes(page)) as admin:
        for target in (
            "/",
            "/?q=%ff&sort=x&unknown=1",
            "/node?node=build-1",
            "/kick?session=s00001",
        ):
            answer = await admin.ask(target=target)
            assert answer.status == 200, target
            assert answer.fields["content-type"] == "text/html; charset=utf-8"
            assert "script-src 'self'" in answer.fields["content-security-policy"]
            assert answer.head.lower().count("content-security-policy") == 1
        assert (await admin.ask("HEAD", "/")).body == b""
        assert (await admin.ask(target="/static/status.css")).fields["content-type"] == (
            "text/css; charset=utf-8"
        )
        assert (await admin.ask(target="/static/..%2Fpages.py")).status == 404
        assert (await admin.ask(target="/static/../../etc/passwd")).status == 404


async def test_a_kick(page: StatusPage, source: ScriptedSource) -> None:
    async with serving(OPEN, page_routes(page)) as admin:
        done = await kick(admin, "s00003")
        assert (done.status, done.fields["location"]) == (303, "./?outcome=kicked")
    assert source.kicked == [("s00003", "127.0.0.1")]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: http://localhost", "Origin: http://localhost"),
    ],
)
async def test_forms_of_other_sites(
    page: StatusPage, source: ScriptedSource, fields: tuple[str, ...], log: LogCapture
) -> None:
    async with serving(OPEN, page_routes(page)) as admin:
        assert (await kick(admin, "s00003", fields=fields)).status == 403
        (line,) = [each for each in log.entries if each["event"] == "admin request refused"]
        assert line["status"] == 403
        # As a page of another site would send it, without what only ours know.
        fields = (OURS, "Content-Type: text/plain")
        assert (await admin.ask("POST", "/kick", body=b"x", fields=fields)).status == 415
        rebound = await admin.ask(target="/", host="rebound.example")
        assert rebound.status == 421
    assert source.kicked == []


async def test_where_a_token_is_asked_for(page: StatusPage) -> None:
    async with serving(CLOSED, page_routes(page)) as admin:
        for target in ("/", "/node?node=x", "/kick?session=s00001"):
            answer = await admin.ask(target=target)
            assert (answer.status, answer.fields["location"]) == (303, "./login")
        assert (await admin.ask(target="/events")).status == 403
        assert (await admin.ask(target="/static/status.css")).status == 200
        assert b'type="password"' in (await admin.ask(target="/login")).body
        body = f"secret={TOKEN}".encode()
        entered = await admin.ask("POST", "/login", body=body, fields=[FORM, OURS])
        assert (entered.status, entered.fields["location"]) == (303, "./")
        cookie = entered.fields["set-cookie"].partition(";")[0]
        assert (await admin.ask(fields=[f"Cookie: {cookie}"], target="/")).status == 200
        # Programs, and browsers that were asked for a password: the token itself will do, too.
        for value in (f"Bearer {TOKEN}", "Basic Og==", "Bearer wrong"):
            said = await admin.ask(target="/", fields=[f"Authorization: {value}"])
            assert said.status == (200 if TOKEN in value else 303)
        # Another token ends all logins.
        admin.follow(AdminConfig(listen=LOOPBACK, token=Secret(TOKEN + "-changed")))
        assert (await admin.ask(fields=[f"Cookie: {cookie}"], target="/")).status == 303


async def test_a_cookie_opens_nothing_but_the_page(page: StatusPage) -> None:
    async def protected(request: object) -> Any:
        raise AssertionError

    routes = (*page_routes(page), Route("GET", "/api/v1/x", "getX", "X", protected))
    async with serving(CLOSED, routes) as admin:
        body = f"secret={TOKEN}".encode()
        entered = await admin.ask("POST", "/login", body=body, fields=[FORM, OURS])
        cookie = entered.fields["set-cookie"].partition(";")[0]
        refused = await admin.ask(target="/api/v1/x", fields=[f"Cookie: {cookie}"])
        assert refused.status == 401


def test_all_of_it_is_for_browsers_and_outside_of_the_apis_document(page: StatusPage) -> None:
    for route in page_routes(page):
        assert route.access is Access.BROWSER
        assert route.answer is None


# -- events ----------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


async def read_until(stream: trio.abc.Stream, word: bytes) -> bytes:
    data = b""
    with trio.fail_after(10):
        while word not in data:
            piece = await stream.receive_some(65536)
            assert piece, data[-500:]
            data += piece
    return data


async def test_events(page: StatusPage, source: ScriptedSource, log: LogCapture) -> None:
    page.looks.interval = 0.05
    async with serving(OPEN, page_routes(page)) as admin:
        stream = await admin.connect()
        async with stream:
            await stream.send_all(b"GET /events?q=0003 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            first = await read_until(stream, b"event: now")
            assert first.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Content-Type: text/event-stream\r\n" in first
            assert b"s00003" in first
            assert page.looks.viewers == 1
            source.change(2, from_agent=4321 * 1024)
            assert b"4.22 MiB" in await read_until(stream, b"event: now")
        await until(lambda: page.looks.viewers == 0)  # who leaves is noticed at once
    assert [line["event"] for line in log.entries] == ["admin is serving"]


async def test_another_token_ends_what_goes_on(page: StatusPage, source: ScriptedSource) -> None:
    page.looks.interval = 0.05
    async with serving(CLOSED, page_routes(page)) as admin, await admin.connect() as stream:
        shown = f"Authorization: Bearer {TOKEN}"
        await stream.send_all(request(target="/events", fields=[shown]))
        assert b"event: sessions" in await read_until(stream, b"event: now")
        admin.follow(CLOSED.model_copy(update={"connections": 50}))  # that is no reason
        source.change(1, from_agent=4321 * 1024)
        assert b"event: sessions" in await read_until(stream, b"event: now")
        admin.follow(CLOSED.model_copy(update={"token": Secret(TOKEN[::-1])}))
        source.change(2, from_agent=4321 * 1024)
        with trio.fail_after(5):
            rest = b"".join([piece async for piece in stream])
        assert b"event: sessions" not in rest
    assert page.looks.viewers == 0


async def test_a_head_of_events_ends(page: StatusPage) -> None:
    async with serving(OPEN, page_routes(page)) as admin:
        answer = await admin.ask("HEAD", "/events")
        assert (answer.status, answer.body) == (200, b"")
        assert page.looks.viewers == 0


async def test_a_viewer_that_does_not_read_is_dropped(
    page: StatusPage, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "PATIENCE", 0.2)
    page.looks.interval = 0.01
    source.now = snapshot(5000)
    async with serving(OPEN, page_routes(page)) as admin:
        stream = await admin.connect()
        async with stream:
            await stream.send_all(request(target="/events?size=5000"))
            await until(lambda: page.looks.viewers == 1)
            # The first message alone is more than fits between the two.
            await until(lambda: page.looks.viewers == 0)
        answer = await say(await admin.connect(), request(target="/"))
        assert answer.status == 200


def test_a_viewer_is_waited_for_longer_than_a_heartbeat() -> None:
    assert live.PATIENCE > live.HEARTBEAT


# -- client certificates ---------------------------------------------------------------------------


async def ask_by_tls(
    admin: Admin, *, certificate: bool, method: str = "GET", target: str = "/", **more: Any
) -> Said:
    context = client_context()
    if certificate:
        issue("operator").configure_cert(context)
    stream = trio.SSLStream(
        await admin.connect(), context, server_hostname="localhost", https_compatible=True
    )
    return await say(stream, request(method, target, **more))


@pytest.mark.parametrize("mode", ["optional", "require"])
async def test_a_client_certificate_is_a_login(
    page: StatusPage, source: ScriptedSource, tmp_path: Path, mode: str
) -> None:
    token = {"token": TOKEN} if mode == "optional" else {}
    config = with_certificates(tmp_path, mode, **token)
    async with serving(config, page_routes(page)) as admin:
        assert (await ask_by_tls(admin, certificate=True)).status == 200
        question = await ask_by_tls(admin, certificate=True, target="/kick?session=s00003")
        cookie = question.fields["set-cookie"]
        assert cookie.startswith("__Host-")
        assert cookie.endswith("; Secure")
        form = question.body.partition(b'name="token" value="')[2].partition(b'"')[0].decode()
        kick: dict[str, Any] = {
            "method": "POST",
            "target": "/kick",
            "body": f"session=s00003&token={form}".encode(),
            "fields": [FORM, OURS, f"Cookie: {cookie.partition(';')[0]}"],
        }
        if mode == "optional":
            # Its cookie is worth nothing to whoever comes without the certificate.
            assert (await ask_by_tls(admin, certificate=False)).status == 303
            assert (await ask_by_tls(admin, certificate=False, **kick)).status == 403
            assert source.kicked == []
        assert (await ask_by_tls(admin, certificate=True, **kick)).status == 303
    ((session, caller),) = source.kicked
    assert session == "s00003"
    assert caller.startswith("127.0.0.1 ")  # and the certificate's subject
