"""JNLP4 or WebSocket: the choice, its cache, and what it never does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents.discovery import Discovery
from gateway.agents.identity import Pin, PinStore
from gateway.agents.transport import Transport, Transports
from gateway.config.models import ControllerConfig
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.upstream import fetch
from gateway.protocol.http_head import ResponseHead
from gateway.protocol.http_headers import Headers
from tests.peers.scripted_controller import ScriptedController, own_identity
from tests.peers.ws_controller import NOT_AN_AGENT, WebSocketController, answer


@asynccontextmanager
async def running(controller: Any, folder: Path) -> AsyncIterator[Transports]:
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(100):
            yield Transports(fetch, Discovery(fetch), PinStore(folder))
        nursery.cancel_scope.cancel()


def config_of(url: str | None, **agents: Any) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": url, "agents": agents})


def asked(controller: WebSocketController) -> list[bytes]:
    return [each.line.split(b" ")[1] for each in controller.requests]


@pytest.mark.parametrize("transport", Transport)
async def test_what_is_configured_is_not_asked_about(transport: Transport, tmp_path: Path) -> None:
    transports = Transports(fetch, Discovery(fetch), PinStore(tmp_path))
    config = config_of("http://127.0.0.1:1/", transport=transport.value)
    choice = await transports.choose("main", config)
    assert (choice.transport, choice.reason) == (transport, "configured")


async def test_without_url_there_is_no_choice(tmp_path: Path) -> None:
    transports = Transports(fetch, Discovery(fetch), PinStore(tmp_path))
    config = config_of(None, address="127.0.0.1:1", identity=own_identity().header)
    assert (await transports.choose("main", config)).transport is Transport.JNLP4


async def test_jnlp4_where_it_is_offered_and_answers(tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    async with running(controller, tmp_path) as transports:
        config = config_of(controller.url)
        choice = await transports.choose("main", config)
        assert await transports.choose("main", config) == choice
        assert choice.transport is Transport.JNLP4
        assert "answers Protocol:Ping" in choice.reason
        await transports.check_ready("main", config)
    (line,) = [line for line in log.entries if line["event"] == "transport chosen"]
    assert (line["controller"], line["transport"]) == ("main", "jnlp4")


async def test_websocket_where_there_is_no_agent_port(tmp_path: Path, log: LogCapture) -> None:
    controller = WebSocketController({})
    async with running(controller, tmp_path) as transports:
        config = config_of(f"{controller.url}ci/")
        choice = await transports.choose("main", config)
        for _ in range(3):
            await transports.check_ready("main", config)
            assert await transports.choose("main", config) == choice
    assert choice.transport is Transport.WEBSOCKET
    assert choice.reason.startswith("/wsagents/ is there; no JNLP4: its TCP agent port is disabled")
    # Asked once for all of it, and once whether it is ready.
    assert asked(controller) == [b"/ci/tcpSlaveAgentListener/", *[b"/ci/wsagents/"] * 2]
    (line,) = [line for line in log.entries if line["event"] == "transport chosen"]
    assert (line["transport"], line["reason"]) == ("websocket", choice.reason)


async def test_websocket_where_the_port_does_not_answer(tmp_path: Path) -> None:
    controller = WebSocketController({})
    async with running(controller, tmp_path) as transports:
        key = own_identity().header.encode()
        controller.discovery = answer(
            b"200 OK",
            b"",
            b"X-Jenkins-Agent-Protocols: JNLP4-connect, Ping",
            b"X-Jenkins-JNLP-Port: 1",
            b"X-Instance-Identity: " + key,
        )
        choice = await transports.choose("main", config_of(controller.url))
        assert choice.transport is Transport.WEBSOCKET
        assert "127.0.0.1:1" in choice.reason


@pytest.mark.parametrize("status", [b"404 Not Found", b"200 OK", b"302 Found", b"503 Starting"])
async def test_neither_is_there(status: bytes, tmp_path: Path) -> None:
    controller = WebSocketController({})
    controller.endpoint = answer(status)
    async with running(controller, tmp_path) as transports:
        with pytest.raises(ControllerUnreachable) as caught:
            await transports.choose("main", config_of(controller.url))
    assert caught.value.for_agents
    assert "no JNLP4: its TCP agent port is disabled" in caught.value.detail
    assert f"no WebSocket: GET /wsagents/ was answered {int(status[:3])}" in caught.value.detail


@pytest.mark.parametrize(
    ("said", "is_jenkins"),
    [
        (answer(b"400 Bad Request", b"<h1>400 HTTP was sent to an HTTPS port</h1>"), False),
        (answer(b"400 Bad Request"), False),
        (answer(b"400 Bad Request", b"an error page of a proxy", b"X-Jenkins: 2.504"), True),
        (answer(b"400 Bad Request", b"<p>" + NOT_AN_AGENT + b"</p>"), True),
    ],
)
async def test_only_jenkins_own_400_counts(said: bytes, is_jenkins: bool, tmp_path: Path) -> None:
    controller = WebSocketController({})
    controller.endpoint = said
    async with running(controller, tmp_path) as transports:
        config = config_of(controller.url)
        if is_jenkins:
            assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
            return
        with pytest.raises(ControllerUnreachable) as caught:
            await transports.choose("main", config)
        config = config_of(controller.url, transport="websocket")
        with pytest.raises(ControllerUnreachable):  # nor is it ready where it is configured
            await transports.check_ready("main", config)
    assert "was answered 400, but not by Jenkins" in caught.value.detail


async def test_websocket_is_given_up_for_an_agent_port_that_is_back(
    tmp_path: Path, log: LogCapture, autojump_clock: trio.testing.MockClock
) -> None:
    """Within 5 min; JNLP4 holds until it fails."""
    offered = False
    looked = 0

    class Scripted(Discovery):
        async def check_ready(self, name: str, controller: ControllerConfig) -> None:
            nonlocal looked
            looked += 1
            if not offered:
                raise ControllerUnreachable(detail="it had the hiccups")

    async def ask(
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        return ResponseHead(400, b"", b"1.1", Headers()), NOT_AN_AGENT

    transports = Transports(ask, Scripted(ask), PinStore(tmp_path))
    config = config_of("https://ci/")
    assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
    offered = True
    await trio.sleep(299)
    assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
    assert looked == 1
    await trio.sleep(1)
    assert (await transports.choose("main", config)).transport is Transport.JNLP4
    await trio.sleep(50_000)
    assert (await transports.choose("main", config)).transport is Transport.JNLP4
    assert looked == 2
    # What is not configured any more is told anew when it comes back.
    transports.keep([])
    assert transports._noted == {}
    await transports.choose("main", config)
    assert [line["event"] for line in log.entries].count("transport chosen") == 3


@pytest.mark.parametrize(
    ("url", "level"),
    [("http://ci/", "warning"), ("https://ci/", "info"), ("http://127.9.9.9/", "info")],
)
async def test_secrets_in_clear_are_a_warning(
    url: str, level: str, tmp_path: Path, log: LogCapture
) -> None:
    async def ask(
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        status = 400 if path == "/wsagents/" else 404
        return ResponseHead(status, b"", b"1.1", Headers()), NOT_AN_AGENT

    await Transports(ask, Discovery(ask), PinStore(tmp_path)).choose("main", config_of(url))
    (line,) = [line for line in log.entries if line["event"] == "transport chosen"]
    assert line["log_level"] == level
    assert ("agents' secrets go to http://ci/ without" in line.get("remedy", "")) is (
        level == "warning"
    )


async def test_the_choice_is_made_anew_when_it_fails(
    tmp_path: Path, log: LogCapture, autojump_clock: trio.testing.MockClock
) -> None:
    """From WebSocket, whose controller was upgraded, to JNLP4 and back."""
    offered = True
    up = True

    class Scripted(Discovery):
        async def check_ready(self, name: str, controller: ControllerConfig) -> None:
            if not offered:
                raise ControllerUnreachable(detail="gone")

    async def ask(
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        if not up:
            raise ControllerTimeout

        return ResponseHead(400, b"", b"1.1", Headers()), NOT_AN_AGENT

    transports = Transports(ask, Scripted(ask), PinStore(tmp_path))
    config = config_of("http://127.0.0.1:1/")
    assert (await transports.choose("main", config)).transport is Transport.JNLP4
    offered = False
    await trio.sleep(3600)
    assert (await transports.choose("main", config)).transport is Transport.JNLP4  # it holds
    transports.forget("main")
    assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
    up = False
    await trio.sleep(10)
    with pytest.raises(ControllerTimeout):
        await transports.check_ready("main", config)
    await trio.sleep(10)
    offered = True
    assert (await transports.choose("main", config)).transport is Transport.JNLP4
    chosen = [line["transport"] for line in log.entries if line["event"] == "transport chosen"]
    assert chosen == ["jnlp4", "websocket", "jnlp4"]


# -- no downgrade ----------------------------------------------------------------------------------


async def test_a_configured_key_is_not_given_up_for_plain_http(tmp_path: Path) -> None:
    controller = WebSocketController({})
    async with running(controller, tmp_path) as transports:
        config = config_of(controller.url, identity=own_identity().header)
        with pytest.raises(ControllerUnreachable, match="a key is configured, and over http"):
            await transports.choose("main", config)
    assert b"/wsagents/" not in asked(controller)


@pytest.mark.parametrize("damaged", [False, True])
async def test_a_pinned_key_is_not_given_up_for_plain_http(tmp_path: Path, damaged: bool) -> None:
    controller = WebSocketController({})
    PinStore(tmp_path).accept("main", Pin(own_identity().public_key, "test"))
    if damaged:
        (tmp_path / "identities" / "main.json").write_text("?")
    async with running(controller, tmp_path) as transports:
        config = config_of(controller.url)
        with pytest.raises(ControllerUnreachable, match="a key is pinned, and over http"):
            await transports.choose("main", config)
        other = await transports.choose("other", config)
    assert other.transport is Transport.WEBSOCKET


async def test_a_key_that_is_pinned_after_the_choice(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    offered = False

    class Scripted(Discovery):
        async def check_ready(self, name: str, controller: ControllerConfig) -> None:
            if not offered:
                raise ControllerUnreachable(detail="gone")

    async def ask(
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        return ResponseHead(400, b"", b"1.1", Headers()), NOT_AN_AGENT

    transports = Transports(ask, Scripted(ask), PinStore(tmp_path))
    config = config_of("http://ci/")
    assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
    PinStore(tmp_path).accept("main", Pin(own_identity().public_key, "test"))
    for asking in (transports.choose, transports.check_ready):
        with pytest.raises(ControllerUnreachable, match="a key is pinned, and over http"):
            await asking("main", config)
    offered = True
    await trio.sleep(1)
    assert (await transports.choose("main", config)).transport is Transport.JNLP4


async def test_over_https_the_url_itself_is_proved(tmp_path: Path) -> None:
    async def ask(
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:

        status = 400 if path == "/wsagents/" else 404
        return ResponseHead(status, b"", b"1.1", Headers()), NOT_AN_AGENT

    transports = Transports(ask, Discovery(ask), PinStore(tmp_path))
    config = config_of("https://ci/", identity=own_identity().header)
    assert (await transports.choose("main", config)).transport is Transport.WEBSOCKET
