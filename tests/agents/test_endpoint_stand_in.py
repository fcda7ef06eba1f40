"""The bridge in front of the demo's stand-in controller: nodes, secrets and cookies as Jenkins has
them (PROTOCOLS A.7, C.3, C.4)."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture

from gateway.demo.controller import INBOUND, NOT_INBOUND, StandInController
from gateway.demo.faults import Close, Faults, Stage, UseIdentity
from gateway.demo.stream import End
from gateway.demo.wire import OLD_COOKIE_KEY, node_secret
from gateway.observability import logs
from tests.agents.bridge import (
    SECRET,
    agent_request,
    ask,
    check_refusal,
    connected,
    everything_logged,
    make_config,
    running_gateway,
)
from tests.peers.raw_client import Answer
from tests.peers.scripted_controller import other_identity, own_identity

ALREADY = "linux-1 is already connected to this controller. Rejecting this connection."


@asynccontextmanager
async def standing_in(
    state_dir: Path, **options: Any
) -> AsyncIterator[tuple[StandInController, int]]:
    """Run a stand-in with two nodes and a gateway in front of it, which takes nothing over."""
    nodes = {"linux-1": INBOUND, "ssh-1": NOT_INBOUND, "agent ü": INBOUND}
    controller = StandInController(nodes, identity=own_identity(), **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(
            make_config(state_dir, controller.url, agents={"takeover": "never"})
        ) as port:
            yield controller, port
        nursery.cancel_scope.cancel()


def request_of(
    controller: StandInController, node: str = "linux-1", cookie: bytes | None = None
) -> bytes:
    secret = controller.secret(node)
    return agent_request({"Node-Name": node, "Secret-Key": secret, "Connection-Cookie": cookie})


def check_connected(answer: Answer, log: LogCapture, cookie: str | None = None) -> None:
    """Check a refusal that begins with the controller's words and says who the other one is."""
    said = answer.get(b"x-gateway-error")
    assert said is not None
    text = said.decode()
    other = r"The other one is connected from 127\.0\.0\.1 since [-0-9]{10}T[:0-9]{8}Z\."
    assert re.fullmatch(f"{re.escape(ALREADY)} {other} agents\\.takeover is never\\.", text)
    check_refusal(answer, log, 400, text, cookie=cookie)


async def test_refusals_leave_a_live_session_alone(tmp_path: Path, log: LogCapture) -> None:
    """Every way to be refused, while the node's own session is up."""
    async with (
        standing_in(tmp_path) as (controller, port),
        connected(port, request_of(controller)) as (_, agent),
    ):
        await controller.wait_for_channel("linux-1")
        check_connected(await ask(port, request_of(controller)), log)
        wrong = request_of(controller, cookie=b"00ff" * 8)
        check_connected(await ask(port, wrong), log, cookie="00ff" * 8)
        unknown = request_of(controller, "nobody")
        check_refusal(await ask(port, unknown), log, 400, "no such agent")
        ssh = request_of(controller, "ssh-1")
        check_refusal(await ask(port, ssh), log, 400, "ssh-1 is not an inbound agent")
        for node in ("linux-1", "agent ü"):
            guess = agent_request({"Node-Name": node, "Secret-Key": "5ec7e7"})
            check_refusal(await ask(port, guess), log, 403, None)
        assert all(attempt.pipelined == 0 for attempt in controller.attempts)
        await controller.wait_for_channel("linux-1")
        await agent.close()
        await controller.wait_for_no_channel("linux-1")
    logged = everything_logged(log)
    for node in ("linux-1", "ssh-1", "nobody", "agent ü"):
        assert controller.secret(node) not in logged


async def test_a_cookie_displaces_the_half_dead_session(tmp_path: Path) -> None:
    """An agent that lost its connection comes back at once with the cookie of its 101."""
    async with (
        standing_in(tmp_path) as (controller, port),
        connected(port, request_of(controller)) as (first, ghost),
    ):
        old = await controller.wait_for_channel("linux-1")
        cookie = first.get(b"connection-cookie")
        assert cookie is not None
        async with connected(port, request_of(controller, cookie=cookie)) as (second, agent):
            assert second.get(b"connection-cookie") not in {None, cookie}
            await ghost.receive(1 << 20)
            assert ghost.close_code == 1000
            assert old.end is not None
            assert (await controller.wait_for_channel("linux-1")) is not old
            await agent.close()
            await controller.wait_for_no_channel("linux-1")


async def test_a_controller_before_remoting_4_7(tmp_path: Path) -> None:
    """It calls the cookie otherwise, both ways."""
    async with (
        standing_in(tmp_path, cookie_key=OLD_COOKIE_KEY) as (controller, port),
        connected(port, request_of(controller)) as (answer, _),
    ):
        cookie = answer.get(b"connection-cookie")
        async with connected(port, request_of(controller, cookie=cookie)):
            await controller.wait_for_channel("linux-1")


async def test_names_beyond_ascii(tmp_path: Path) -> None:
    """Jenkins computes the secret from the name's UTF-8, the agent writes it as Latin-1."""
    key = b"made up"
    async with standing_in(tmp_path, secret_key=key) as (controller, port):
        assert controller.secret("agent ü") == node_secret(key, "agent ü")
        request = request_of(controller, "agent ü")
        assert b"Node-Name: agent \xfc\r\n" in request
        async with connected(port, request):
            await controller.wait_for_channel("agent ü")


async def test_a_session_ends_without_close_notify(tmp_path: Path) -> None:
    """Java never sends one, and a controller that gets one does not see the FIN behind it."""
    async with standing_in(tmp_path) as (controller, port):
        async with connected(port, request_of(controller)) as (_, agent):
            await controller.wait_for_channel("linux-1")
            await agent.close()
        attempt = controller.attempts[-1]
        await attempt.finished.wait()
        assert attempt.end is End.BARE_EOF


@pytest.mark.parametrize("json", [True, False])
async def test_no_secret_in_what_operators_read(json: bool, tmp_path: Path) -> None:
    """The real log, at its most talkative, of sessions that began, ended and were refused."""
    written = io.StringIO()
    logs.configure(level="debug", json=json, stream=written)
    async with standing_in(tmp_path) as (controller, port):
        cookie = None
        for _ in range(2):
            async with connected(port, request_of(controller, cookie=cookie)) as (answer, agent):
                cookie = answer.get(b"connection-cookie")
                await controller.wait_for_channel("linux-1")
                assert (await ask(port, request_of(controller, cookie=b"00ff" * 8))).status == 400
                await agent.close()
            await controller.wait_for_no_channel("linux-1")
        assert (await ask(port, agent_request({"Node-Name": "linux-1"}))).status == 403
        assert (await ask(port, request_of(controller, "nobody", cookie))).status == 400
        controller.faults = Faults({Stage.TLS: UseIdentity(other_identity())})
        assert (await ask(port, request_of(controller, cookie=cookie))).status == 502
        controller.faults = Faults({Stage.VERDICT: Close()})
        assert (await ask(port, request_of(controller, cookie=cookie))).status == 503
    text = written.getvalue()
    assert text.count("session started") == text.count("session ended") == 2
    assert text.count("gateway.request.id") == 6
    assert cookie is not None
    for secret in (SECRET, controller.secret("linux-1"), controller.secret("nobody")):
        assert secret not in text
    assert cookie.decode() not in text
    assert "00ff" * 8 not in text
