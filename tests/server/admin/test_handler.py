"""What becomes of a request: bodies, content types, hostile ones."""

from __future__ import annotations

import pytest
import trio

from gateway.config.admin import AdminConfig
from gateway.server.admin.handler import BODY_LIMIT, LIMIT, MOST_BODY
from gateway.server.admin.messages import AdminRequest, Answer
from gateway.server.admin.routes import Route
from tests.server.admin.asking import LOOPBACK, request, say, serving

JSON = "Content-Type: application/json"
GOOD = b'{"word": "x"}'


async def test_a_body_is_checked_against_the_model() -> None:
    async with serving() as admin:
        found = await admin.ask("POST", "/do", fields=[JSON], body=GOOD)
    assert found.json["body"] == {"word": "x", "number": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"word": 1}',
        b'{"word": "x", "other": 1}',
        b'{"word": "x", "number": "1"}',
        b'{"word": "\xff"}',
        b"[" * 60_000,
    ],
)
async def test_bodies_that_are_refused(body: bytes) -> None:
    async with serving() as admin:
        found = await admin.ask("POST", "/do", fields=[JSON], body=body)
    assert (found.status, found.problem) == (400, "bad-body")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_simple_requests_of_other_sites_are_refused(kind: str) -> None:
    fields = [f"Content-Type: {kind}"] if kind else []
    async with serving() as admin:
        found = await admin.ask("POST", "/do", fields=fields, body=GOOD)
    assert (found.status, found.problem) == (415, "bad-content-type")


async def test_a_body_that_is_too_big() -> None:
    async with serving() as admin:
        found = await admin.ask("POST", "/do", fields=[JSON], body=b" " * (MOST_BODY + 1))
        assert (found.status, found.problem) == (413, "too-big")
        chunk = b"%x\r\n%b\r\n" % (MOST_BODY, b" " * MOST_BODY)
        head = request("POST", "/do", fields=[JSON, "Transfer-Encoding: chunked"])
        found = await say(await admin.connect(), head + chunk + chunk)
        assert (found.status, found.problem) == (413, "too-big")


async def test_a_client_that_waits_to_be_told() -> None:
    async with serving() as admin:
        stream = await admin.connect()
        head = request("POST", "/do", body=GOOD, fields=[JSON, "Expect: 100-continue"])
        await stream.send_all(head[: -len(GOOD)])
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 100 ")
        assert (await say(stream, GOOD)).status == 200


@pytest.mark.parametrize(
    ("method", "target", "status", "problem"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "//open", 404, "not-found"),
        ("GET", "/open/", 404, "not-found"),
        ("GET", "/x/../open", 404, "not-found"),
        ("POST", "/open", 405, "bad-method"),
        ("OPTIONS", "/do", 405, "bad-method"),
        ("GET", "/closed?x=1", 400, "bad-parameter"),
        ("GET", "/nodes/%ff/past", 400, "bad-target"),
    ],
)
async def test_what_is_not_there(method: str, target: str, status: int, problem: str) -> None:
    async with serving() as admin:
        found = await admin.ask(method, target)
    assert (found.status, found.problem) == (status, problem)
    if status == 405:
        assert found.fields["allow"] in ("GET, HEAD", "POST")


async def test_head() -> None:
    async with serving() as admin:
        found = await admin.ask("HEAD")
    assert (found.status, found.body) == (200, b"")
    assert int(found.fields["content-length"]) > 0


async def test_every_answer_keeps_caches_frames_and_scripts_out() -> None:
    async with serving() as admin:
        for target in ("/open", "/nothing"):
            fields = (await admin.ask(target=target)).fields
            assert fields["cache-control"] == "no-store"
            assert fields["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in fields["content-security-policy"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /open HTTP/1.1\nHost: localhost\n\n",
        b"GET /open HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
    ],
)
async def test_hostile_bytes_end_one_connection(data: bytes) -> None:
    async with serving() as admin:
        stream = await admin.connect()
        assert (await say(stream, data)).status in (400, 405, 414)
        assert (await admin.ask()).status == 200


async def test_a_handler_without_an_end(autojump_clock: trio.testing.MockClock) -> None:
    async def never(request: AdminRequest) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    routes = [Route("GET", "/slow", "slow", "Slow", never)]
    async with serving(AdminConfig(listen=LOOPBACK), routes) as admin:
        stream = await admin.connect()
        await stream.send_all(request(target="/slow"))
        began = trio.current_time()
        data = await stream.receive_some(65536)
        assert data.startswith(b"HTTP/1.1 503 ")
        assert trio.current_time() - began == pytest.approx(LIMIT, abs=1)
        await stream.aclose()


async def test_a_bug_ends_one_request() -> None:
    async def broken(request: AdminRequest) -> Answer:
        raise RuntimeError("with a secret in it")

    routes = [Route("GET", "/broken", "broken", "Broken", broken)]
    async with serving(routes=routes) as admin:
        found = await admin.ask(target="/broken")
        assert found.status == 500
        assert b"secret" not in found.body
        assert (await admin.ask(target="/nothing")).status == 404


async def test_a_body_that_trickles(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as admin:
        stream = await admin.connect()
        head = request("POST", "/do", fields=[JSON, "Content-Length: 60000"])
        await stream.send_all(head)
        began = trio.current_time()
        with trio.move_on_after(BODY_LIMIT + 5):
            while True:
                await stream.send_all(b" ")
                with trio.move_on_after(2):
                    data = await stream.receive_some(65536)
                    break
        assert data.startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - began == pytest.approx(BODY_LIMIT, abs=3)
        await stream.aclose()
