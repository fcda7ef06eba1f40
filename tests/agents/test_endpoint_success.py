"""``/wsagents/``: what an accepted agent is answered, and when (PROTOCOLS A.4, J.1)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.http.exchange import Exchange
from gateway.transport.stream import Stream
from tests.agents.bridge import (
    ACCEPT,
    CAPABILITY,
    COOKIE,
    SECRET,
    Agent,
    agent_request,
    ask,
    bridged,
    connected,
    everything_logged,
    make_config,
    running_gateway,
)
from tests.certificates import client_context, tls_config
from tests.peers import scripted_controller as scripted
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import ScriptedController, Visit, accepting, string

COMMAND = b"\x00\x05hello"


async def say_hello(visit: Visit) -> None:
    """Send one chunk, then keep what the agent says until it is done."""
    await visit.send(COMMAND)
    await visit.read_to_end()


async def test_the_101_is_exactly_this(tmp_path: Path) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request())
    assert answer.head == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
        b"X-Remoting-Capability: " + scripted.CAPABILITY.encode() + b"\r\n"
        b"X-Remoting-Minimum-Version: " + scripted.MINIMUM_VERSION.encode() + b"\r\n"
        b"Connection-Cookie: " + scripted.COOKIE.encode() + b"\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("target", ["/jenkins/wsagents/", "/jenkins/wsagents"])
async def test_below_a_context_path(target: str, tmp_path: Path) -> None:
    controller = ScriptedController(prefix="/jenkins")
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, agent_request(target=target))).status == 101
        assert controller.requests[0].opening.startswith(
            "GET /jenkins/tcpSlaveAgentListener/ HTTP/1.1\r\n"
        )


@pytest.mark.parametrize("cookie", [None, COOKIE, "00FF"])
async def test_the_agents_words_reach_the_controller_unchanged(
    cookie: str | None, tmp_path: Path
) -> None:
    """The cookie under both names: it was renamed in remoting 4.7."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        async with connected(port, agent_request({"Connection-Cookie": cookie})) as (_, agent):
            await agent.close()
        visit = await controller.wait_for_agents()
        await visit.ended.wait()
    expected = {"Node-Name": "my-agent", "Secret-Key": SECRET}
    if cookie is not None:
        expected |= {"JnlpAgentProtocol.cookie": cookie, "Cookie": cookie}
    assert visit.opening == "Protocol:JNLP4-connect"
    assert visit.headers == expected
    assert visit.verdict == "OK"
    assert visit.capability == CAPABILITY
    assert bytes(visit.inside) == string(visit.header_bytes) + string("OK") + string(CAPABILITY)


@pytest.mark.parametrize(
    ("controllers", "told"),
    [
        (None, "4.2.1"),
        ("", "4.2.1"),
        ("3.14", "4.2.1"),
        ("4.2", "4.2.1"),
        ("4.2.0.9", "4.2.1"),
        ("4.2.1", "4.2.1"),
        ("4.2.1.1", "4.2.1.1"),
        ("4.2.2", "4.2.2"),
        ("4.3", "4.3"),
        ("4.13", "4.13"),  # as numbers: 13 > 2
        ("5", "5"),
        ("3107.v665000b_51092", "3107.v665000b_51092"),
        ("3176.v207ec082a_8c0", "3176.v207ec082a_8c0"),
        ("v3176", "4.2.1"),
        ("-5.0", "4.2.1"),
        ("four.two", "4.2.1"),
        ("9999999999", "4.2.1"),  # no version of anything
        ("5 or newer", "4.2.1"),
        ("5\xfc", "4.2.1"),
        ("5" * 65, "4.2.1"),
    ],
)
async def test_the_higher_minimum_version(
    controllers: str | None, told: str, tmp_path: Path
) -> None:
    controller = ScriptedController()
    controller.version = controllers
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request())
        assert answer.get(b"x-remoting-minimum-version") == told.encode()


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"JnlpAgentProtocol.cookie": "00aaFF"}, "00aaFF"),
        ({"Cookie": "00aa"}, "00aa"),  # before remoting 4.7
        ({"JnlpAgentProtocol.cookie": "00", "Cookie": "ff"}, "00"),
        ({"JnlpAgentProtocol.cookie": None, "Cookie": "ff"}, "ff"),
        ({}, None),
        ({"JnlpAgentProtocol.cookie": ""}, None),
        ({"JnlpAgentProtocol.cookie": "00\r\nX-Evil: 1"}, None),
        ({"JnlpAgentProtocol.cookie": "not hex"}, None),
        ({"JnlpAgentProtocol.cookie": "abc"}, None),
        ({"JnlpAgentProtocol.cookie": "\u0660\u0661"}, None),  # digits, but not of ours
        ({"JnlpAgentProtocol.cookie": "00" * 129}, None),
    ],
)
async def test_only_a_cookie_becomes_a_header(
    headers: dict[str, str | None], told: str | None, tmp_path: Path
) -> None:
    controller = ScriptedController(accepting(headers=json.dumps(headers)))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request({"Connection-Cookie": COOKIE}))
        assert answer.status == 101
        assert answer.get(b"connection-cookie") == (None if told is None else told.encode())
        assert b"evil" not in answer.head.lower()


@pytest.mark.parametrize("capability", ["AAAA", "rO0ABXNy" * 100])
async def test_the_controllers_capability_is_its_own(capability: str, tmp_path: Path) -> None:
    controller = ScriptedController(accepting(capability=capability))
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, agent_request())
        assert answer.get(b"x-remoting-capability") == capability.encode()


# -- the order ------------------------------------------------------------------------------------


async def test_the_agents_capability_follows_the_101(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller starts to work for an agent when it has its capability (J.1 step 8)."""
    sent: list[bytes] = []
    send_all = Stream.send_all

    async def recording(stream: Stream, data: bytes) -> None:
        await send_all(stream, data)
        sent.append(data)

    send_nowait = Stream.send_nowait

    def recording_nowait(stream: Stream, data: bytes) -> bool:
        sent.append(data)
        return send_nowait(stream, data)

    monkeypatch.setattr(Stream, "send_all", recording)
    monkeypatch.setattr(Stream, "send_nowait", recording_nowait)
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        async with connected(port, agent_request()) as (_, agent):
            await agent.close()
        await (await controller.wait_for_agents()).ended.wait()
    switched = [at for at, data in enumerate(sent) if data.startswith(b"HTTP/1.1 101 ")]
    capability = [at for at, data in enumerate(sent) if CAPABILITY.encode() in data]
    assert len(switched) == len(capability) == 1
    assert switched < capability


async def test_no_capability_before_the_101(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, seen from the controller: it waits as long as the 101 does."""
    reached, go_on = trio.Event(), trio.Event()
    upgrade = Exchange.upgrade

    async def late(exchange: Exchange, headers: list[tuple[bytes, bytes]]) -> tuple[Stream, bytes]:
        reached.set()
        await go_on.wait()
        return await upgrade(exchange, headers)

    monkeypatch.setattr(Exchange, "upgrade", late)
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port, await RawClient.connect(port) as client:
        await client.send(agent_request())
        await reached.wait()
        visit = await controller.wait_for_agents()
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert bytes(visit.inside) == string(visit.header_bytes) + string("OK")
        go_on.set()
        assert (await client.read_head()).status == 101
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert visit.capability == CAPABILITY


async def test_frames_sent_before_the_101_are_kept(tmp_path: Path) -> None:
    """An impatient agent: frames come with the request, and while the controller thinks."""
    thinking, go_on = trio.Event(), trio.Event()

    async def think(visit: Visit) -> None:
        thinking.set()
        await go_on.wait()
        await visit.send(string("OK"))
        assert await visit.read_string() == b"OK"
        await visit.send(string(scripted.CAPABILITY))
        assert await visit.read_string() == CAPABILITY.encode()
        await visit.read_to_end()

    controller = ScriptedController(scripted.stopping_at(scripted.Stage.VERDICT, think))
    async with bridged(tmp_path, controller) as port, await RawClient.connect(port) as client:
        agent = Agent(client)
        pieces = [bytes((0, 1, 65 + i)) for i in range(5)]
        frames = [agent.frames.message(piece)[0] for piece in pieces]
        await client.send(agent_request() + frames[0] + frames[1][:3])
        await thinking.wait()
        await client.send(frames[1][3:] + frames[2])
        await trio.testing.wait_all_tasks_blocked(0.02)
        await client.send(frames[3])
        go_on.set()
        assert (await client.read_head()).status == 101
        await client.send(frames[4])
        await agent.close()
        visit = await controller.wait_for_agents()
        await visit.ended.wait()
    assert bytes(visit.inside).endswith(string(CAPABILITY) + b"".join(pieces))


@pytest.mark.parametrize("extra", [0, 1])
async def test_frames_before_the_101_are_bounded(extra: int, tmp_path: Path) -> None:
    """64 KiB are kept; a byte more ends the attempt, and the controller's leg with it."""
    controller = ScriptedController(
        scripted.stopping_at(scripted.Stage.VERDICT, scripted.stay_silent)
    )
    async with bridged(tmp_path, controller) as port, await RawClient.connect(port) as client:
        await client.send(agent_request({"Connection-Cookie": COOKIE}))
        visit = await controller.wait_for_agents()
        await client.send(bytes(64 * 1024 + extra))
        if not extra:
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert not visit.ended.is_set()
            return
        answer = await client.read_answer()
        assert answer.status == 400
        assert answer.get(b"x-gateway-error") == b"too much data before the answer"
        assert answer.get(b"connection-cookie") == COOKIE.encode()
        await visit.ended.wait()


# -- sessions -------------------------------------------------------------------------------------


async def test_bytes_both_ways_and_what_is_logged(tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController(accepting(then=say_hello))
    async with bridged(tmp_path, controller) as port:
        request = agent_request({"Connection-Cookie": COOKIE})
        async with connected(port, request) as (_, agent):
            assert await agent.receive(len(COMMAND)) == COMMAND
            await agent.send(b"\x00\x03abc")
            await agent.send(b"\x00\x03def", cuts=[2])  # as remoting before 3107 does
            await agent.send(b"\x00\x03ghi", cuts=[0, 1, 1, 4])
            await agent.close()
        visit = await controller.wait_for_agents()
        await visit.ended.wait()
    up = bytes(visit.inside).partition(string(CAPABILITY))[2]
    assert up == b"\x00\x03abc\x00\x03def\x00\x03ghi"
    events = {entry["event"]: entry for entry in log.entries}
    assert {"session started", "session ended"} <= events.keys()
    for entry in (events["session started"], events["session ended"]):
        assert entry["node"] == "my-agent"
        assert entry["controller"] == "main"
        assert entry["client"] == "127.0.0.1"
    assert events["session started"]["session"] == events["session ended"]["session"]
    logged = everything_logged(log)
    for secret in (SECRET, COOKIE, scripted.COOKIE):
        assert secret not in logged


async def test_what_the_controller_says_with_its_capability_is_not_lost(tmp_path: Path) -> None:
    async def hasty(visit: Visit) -> None:
        await visit.send(string(scripted.CAPABILITY) + COMMAND[:4])
        await visit.send(COMMAND[4:])
        await visit.read_to_end()

    controller = ScriptedController(scripted.stopping_at(scripted.Stage.CAPABILITY, hasty))
    async with (
        bridged(tmp_path, controller) as port,
        connected(port, agent_request()) as (_, agent),
    ):
        assert await agent.receive(len(COMMAND)) == COMMAND


@pytest.mark.parametrize("end", [scripted.close, scripted.reset])
async def test_a_controller_that_ends_ends_the_session(
    end: scripted.Script, tmp_path: Path
) -> None:
    controller = ScriptedController(accepting(then=end))
    async with (
        bridged(tmp_path, controller) as port,
        connected(port, agent_request()) as (_, agent),
    ):
        assert await agent.receive(1) == b""
        assert agent.close_code == (1000 if end is scripted.close else 1011)


async def test_a_gateway_that_is_cut_off_leaves_no_controller_leg(tmp_path: Path) -> None:
    """Cancelled from outside: the controller must not keep a ghost."""
    controller = ScriptedController()
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(make_config(tmp_path, controller.url)) as port:
            client = await RawClient.connect(port)
            await client.send(agent_request())
            assert (await client.read_head()).status == 101
        with trio.fail_after(5):
            await (await controller.wait_for_agents()).ended.wait()
        await client.stream.aclose()
        nursery.cancel_scope.cancel()


async def test_over_tls(tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController(accepting(then=say_hello))
    config = {"listener": {"tls": tls_config(tmp_path, "localhost").model_dump()}}
    async with bridged(tmp_path, controller, **config) as port:
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port),
            client_context(),
            server_hostname="localhost",
        )
        async with RawClient(stream) as client:
            await client.send(agent_request({"Node-Name": None}))
            assert (await client.read_answer()).status == 400
            await client.send(agent_request())
            assert (await client.read_head()).status == 101
            agent = Agent(client)
            assert await agent.receive(len(COMMAND)) == COMMAND
            await agent.close()
    started = next(entry for entry in log.entries if entry["event"] == "session started")
    assert str(started["tls"]).startswith("TLSv1.3")
