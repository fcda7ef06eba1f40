"""The gateway as a full-duplex client: what a controller sees, and what its answers mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from gateway.config.values import Address
from gateway.errors import ControllerAnswered, ControllerTimeout, ControllerUnreachable
from gateway.http.exchange import Exchange
from gateway.http.forwarding import ProxyTrust
from gateway.http.router import Router
from gateway.http.upstream import Upstream
from gateway.jenkins_cli.full_duplex import FullDuplex, open_full_duplex
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.plain_cli import CliFrame, Op, exit_frame, text_frame
from tests.http.serving import make_config
from tests.peers.cli_controller import Answer, CliController

CLIENT: list[Field] = [
    (b"Host", b"ci.example.com"),
    (b"User-Agent", b"Tyrus"),
    (b"Authorization", b"Basic YWxpY2U6YS10b2tlbg=="),
    (b"Cookie", b"JSESSIONID=x"),
    (b"Origin", b"http://ci.example.com"),
    (b"Accept-Encoding", b"gzip"),
    (b"Content-Length", b"0"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
]


def exchange(config: Any) -> Exchange:
    request = RequestHead(b"GET", b"/cli/ws", b"1.1", Headers(CLIENT))
    trust = ProxyTrust((), "192.0.2.1", scheme="https", port=443)
    made = SimpleNamespace(
        request=request,
        request_id="abcd-efgh",
        provenance=trust.provenance(request),
        match=Router(config).match(b"ci.example.com", b"/cli/ws"),
        upstream_began=lambda: None,
    )
    return cast("Exchange", made)


@asynccontextmanager
async def opened(controller: CliController, *, within: float = 10) -> AsyncIterator[FullDuplex]:
    """Open a pair at ``controller``."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = make_config(controller.url)
        upstream = Upstream("main", config.controllers["main"])
        pair = await open_full_duplex(
            exchange(config), upstream, until=trio.current_time() + within
        )
        try:
            yield pair
        finally:
            pair.close()
            nursery.cancel_scope.cancel()


async def failure(controller: CliController, *, within: float = 10) -> BaseException:
    error: BaseException
    try:
        async with opened(controller, within=within):
            pass
    except BaseExceptionGroup as group:
        (error,) = group.exceptions
        return error
    raise AssertionError("it opened")


async def test_the_two_requests() -> None:
    controller = CliController()
    async with opened(controller) as pair:
        assert pair.address == Address("127.0.0.1", controller.port)
        await controller.wait_for_run()
        (_, target, down), (_, other, up) = controller.requests
    assert target == other == "/cli?remoting=false"
    assert (down["side"], up["side"]) == ("download", "upload")
    assert down["session"] == up["session"]
    assert down["content-length"] == "0"
    assert up["transfer-encoding"] == "chunked"
    assert up["content-type"] == "application/octet-stream"
    for sent in (down, up):
        assert sent["authorization"] == "Basic YWxpY2U6YS10b2tlbg=="
        assert sent["host"] == "ci.example.com"
        assert sent["x-forwarded-proto"] == "https"
        assert sent["x-request-id"] == "abcd-efgh"
        unwanted = ("cookie", "origin", "upgrade", "accept-encoding")
        assert not [n for n in sent if n in unwanted or n.startswith("sec-")]


async def test_frames_both_ways() -> None:
    controller = CliController()
    async with opened(controller) as pair:
        for frame in (
            text_frame(Op.ARG, "cat"),
            CliFrame(Op.START),
            CliFrame(Op.STDIN, b"hello"),
            CliFrame(Op.END_STDIN),
        ):
            await pair.send(frame)
        found: list[CliFrame] = []
        while not found or found[-1].op is not Op.EXIT:
            found += await pair.receive()
        assert found == [CliFrame(Op.STDOUT, b"hello"), exit_frame(0)]
        await pair.end_upload()
        assert await pair.receive() == []
        assert await pair.wait_for_upload_answer() == 200


async def test_a_client_that_leaves_interrupts() -> None:
    controller = CliController()
    async with opened(controller) as pair:
        await pair.send(text_frame(Op.ARG, "sleep"))
        await pair.send(text_frame(Op.ARG, "60"))
        await pair.send(CliFrame(Op.START))
        assert await pair.receive() == [CliFrame(Op.STDOUT, b"sleeping\n")]
        await pair.end_upload()
        run = await controller.wait_for_run()
        await run.ended.wait()
        assert run.interrupted


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, 401), (403, 403), (404, 404), (500, 500), (503, 503)],
)
async def test_refusals_are_passed_on(status: int, expected: int) -> None:
    controller = CliController()
    challenge = ("WWW-Authenticate", 'Basic realm="Jenkins user"')
    controller.answers["download"] = Answer(status, [challenge])
    error = await failure(controller)
    assert isinstance(error, ControllerAnswered)
    assert error.status == expected
    assert error.fields == ((b"WWW-Authenticate", b'Basic realm="Jenkins user"'),)
    assert error.public != "the controller refused the request"


async def test_the_controllers_own_words() -> None:
    controller = CliController()
    controller.answers["download"] = Answer(403, [("X-CLI-Error", "not today")])
    assert getattr(await failure(controller), "public", None) == "not today"


async def test_answers_that_are_none() -> None:
    controller = CliController()
    controller.answers["download"] = Answer(302, [("Location", "/login")])
    assert isinstance(await failure(controller), ControllerUnreachable)
    controller = CliController()
    controller.answers["download"] = Answer(200)
    error = await failure(controller)
    assert isinstance(error, ControllerAnswered)
    assert error.status == 404
    controller = CliController()
    controller.first_byte = b"1"  # hudson.diyChunking
    error = await failure(controller)
    assert isinstance(error, ControllerUnreachable)
    assert "diyChunking" in error.detail


async def test_a_controller_that_says_nothing() -> None:
    controller = CliController()
    controller.first_byte = b""
    assert isinstance(await failure(controller, within=0.2), ControllerTimeout)
