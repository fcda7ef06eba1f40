"""Drain and linger of a worker on real sockets, with peers that do not play along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.identity import InstanceIdentity
from gateway.runtime.session_loop import CLOSE_TIMEOUT
from tests.certificates import client_context
from tests.peers.raw_client import RawClient, Truncated
from tests.peers.raw_origin import OriginConnection, RawOrigin
from tests.server.workers import HOST, Worker, make_config, running_worker

GET = b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
LOGIN = b"GET /login HTTP/1.1\r\nHost: a\r\nUser-Agent: Java/17\r\n\r\n"
NODES = [f"node-{i}" for i in range(6)]


@pytest.fixture
def clock() -> MockClock:
    """Mock time that jumps once nothing has happened for a moment, which the kernel may need."""
    return MockClock(autojump_threshold=0.05)


@pytest.fixture(autouse=True)
def _no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep idle connections from being looked for: mock time would stop for each look."""
    monkeypatch.setattr("gateway.http.upstream.SWEEP_EVERY", 100_000.0)


async def answer(connection: OriginConnection) -> None:
    """Answer; ``/never`` not at all, ``/endless`` without an end."""
    with suppress(AssertionError):  # it ended between requests
        while True:
            request = await connection.read_request()
            if b" /never " in request.line:
                await connection.wait_for_end()
            elif b" /endless " in request.line:
                await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            else:
                await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Site:
    """A worker with agents, and what became of their channels."""

    def __init__(
        self, worker: Worker, controller: StandInController, nursery: trio.Nursery
    ) -> None:
        self.worker = worker
        self.controller = controller
        self.nursery = nursery

    async def connect(self, node: str) -> AgentChannel:
        url, secret = f"https://{HOST}:{self.worker.tls}/", self.controller.secret(node)
        found = await SimulatedAgent(url, node, secret, tls=client_context()).connect(self.nursery)
        assert isinstance(found, AgentChannel)
        return found


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    identity = InstanceIdentity()
    controller = StandInController(
        dict.fromkeys(NODES, INBOUND), identity=identity, on_channel=echo
    )
    origin = RawOrigin(answer)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        await nursery.start(controller.run)
        config = make_config(
            folder,
            controllers={
                "main": {"url": controller.url},
                "web": {"url": f"http://{HOST}:{origin.port}/"},
            },
            routes=[
                {"id": "main", "controller": "main"},
                {"id": "web", "host": "web.test", "controller": "web", "response_timeout": "1d"},
            ],
            log={"access": {"to": "off"}},
        )
        async with running_worker(config) as worker:
            yield Site(worker, controller, nursery)
        nursery.cancel_scope.cancel()


# -- drain -----------------------------------------------------------------------------------------


async def test_a_drain_ends_when_the_last_session_has(tmp_path: Path, clock: MockClock) -> None:
    """Sessions that end by themselves meanwhile are nobody's business."""
    async with site(tmp_path) as it:
        channels = [await it.connect(node) for node in NODES]
        began = trio.current_time()
        await it.worker.control.send({"type": "stop", "spread": 20, "timeout": 300})
        await channels[0].close()
        ends: list[float] = []

        async def note(channel: AgentChannel) -> None:
            await channel.ended.wait()
            ends.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for channel in channels[1:]:
                nursery.start_soon(note, channel)
        assert [channel.close_code for channel in channels[1:]] == [1012] * 5
        # One in each sixth part of the time; the one that left had one of them.
        assert len({int(at / (20 / 6)) for at in ends}) == 5
        await it.worker.ended.wait()
        assert trio.current_time() - began <= 20 + CLOSE_TIMEOUT


async def test_stuck_peers_do_not_hold_it_up(tmp_path: Path, clock: MockClock) -> None:
    with capture_logs() as logs:
        async with site(tmp_path) as it:
            healthy, silent, deaf = [await it.connect(node) for node in NODES[:3]]
            silent.answer_pings = False
            deaf.stop_reading()
            clients = [await RawClient.connect(it.worker.plain) for _ in range(4)]
            waiting, full, begun, idle = clients
            await waiting.send(GET.replace(b" / ", b" /never "))
            await full.send(GET.replace(b" / ", b" /endless "))
            await begun.send(GET[:-2])
            await trio.sleep(1)
            began = trio.current_time()
            await it.worker.control.send({"type": "stop", "spread": 10, "timeout": 60})
            await healthy.ended.wait()
            await silent.ended.wait()
            assert (healthy.close_code, silent.close_code) == (1012, 1012)
            assert trio.current_time() - began <= 10 + CLOSE_TIMEOUT
            assert await idle.read_to_end() == b""
            assert b" 408 " in await begun.read_to_end()
            await it.worker.ended.wait()
            assert trio.current_time() - began == pytest.approx(60, abs=0.1)
            with pytest.raises(Truncated):
                await waiting.read_answer()
            for client in clients:
                await client.stream.aclose()
            deaf.kill()
    assert [line["event"] for line in logs if line.get("log_level") == "warning"][-1:] == [
        "connections were cut"
    ]


async def test_a_backlog_that_does_not_empty_takes_no_time_of_its_own(
    tmp_path: Path, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there are no descriptors left: a supervisor kills what is not done in time."""
    monkeypatch.setattr("gateway.server.accepting.backlog", lambda _: 1)
    monkeypatch.setattr("gateway.server.accepting._LOOK", 1.0)  # mock time stops for each
    async with site(tmp_path) as it, await RawClient.connect(it.worker.plain) as stuck:
        channel = await it.connect(NODES[0])
        await stuck.send(GET.replace(b" / ", b" /never "))
        await trio.sleep(1)
        began = trio.current_time()
        await it.worker.control.send({"type": "stop", "spread": 0, "timeout": 8})
        await channel.ended.wait()
        assert channel.close_code == 1012
        assert trio.current_time() - began < 1
        # Whoever comes in that time is served.
        async with await RawClient.connect(it.worker.plain) as late:
            assert (await late.ask(GET)).get(b"connection") == b"close"
        await it.worker.ended.wait()
        assert trio.current_time() - began == pytest.approx(8, abs=0.1)


async def test_a_second_word_with_less_patience_counts(tmp_path: Path, clock: MockClock) -> None:
    async with site(tmp_path) as it, await RawClient.connect(it.worker.plain) as client:
        channel = await it.connect(NODES[0])
        await client.send(GET.replace(b" / ", b" /never "))
        await trio.sleep(1)
        await it.worker.control.send({"type": "stop", "spread": 5000, "timeout": None})
        await trio.sleep(5)
        assert not it.worker.ended.is_set()
        began = trio.current_time()
        await it.worker.control.send({"type": "stop", "spread": 0, "timeout": 7})
        await channel.ended.wait()
        await it.worker.ended.wait()
        assert trio.current_time() - began == pytest.approx(7, abs=0.1)


async def test_a_worker_answers_questions_while_it_drains(tmp_path: Path, clock: MockClock) -> None:
    async with site(tmp_path) as it:
        await it.connect(NODES[0])
        await it.worker.control.send({"type": "stop", "spread": 10_000, "timeout": None})
        await it.worker.control.send({"type": "ask", "id": 1, "question": "status"})
        reply = await it.worker.control.receive()
        assert reply == {
            "type": "answer",
            "id": 1,
            "status": {"sessions": 1, "connections": 1, "generation": 0},
        }


# -- linger ----------------------------------------------------------------------------------------


async def test_who_lingers_cuts_nobody_short(tmp_path: Path, clock: MockClock) -> None:
    """Whoever was accepted is served: the new workers have only the sockets, not these clients."""
    async with site(tmp_path) as it:
        old = await it.connect(NODES[0])
        used, fresh, begun, agent = [await RawClient.connect(it.worker.plain) for _ in range(4)]
        assert (await used.ask(GET)).get(b"connection") is None
        await begun.send(GET[:-2])
        await trio.sleep(0.1)
        await it.worker.control.send({"type": "linger", "timeout": 300})
        await trio.sleep(1)
        assert it.worker.is_closed()
        for client, data in ((used, GET), (fresh, GET), (begun, b"\r\n"), (agent, LOGIN)):
            got = await client.ask(data)
            assert (got.status, got.get(b"connection")) == (200, b"close")
            assert await client.read_to_end() == b""
            await client.stream.aclose()
        await old.send_command(b"still here")
        assert await old.receive_command() == b"still here"
        await trio.sleep(200)
        assert old.end is None
        assert not it.worker.ended.is_set()
        await old.close()
        await it.worker.ended.wait()


async def test_an_agent_in_its_handshake_is_let_in_while_lingering(
    tmp_path: Path, clock: MockClock
) -> None:
    async with site(tmp_path) as it:
        url, secret = f"https://{HOST}:{it.worker.tls}/", it.controller.secret(NODES[0])
        agent = SimulatedAgent(url, NODES[0], secret, tls=client_context())
        found: list[object] = []

        async def connect() -> None:
            found.append(await agent.connect(it.nursery))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            while not (await status_of(it))["connections"]:  # noqa: ASYNC110 - nobody else tells
                await trio.sleep(0.001)
            await it.worker.control.send({"type": "linger", "timeout": 300})
        (channel,) = found
        assert isinstance(channel, AgentChannel)
        await channel.close()
        await it.worker.ended.wait()


async def test_lingering_has_an_end(tmp_path: Path, clock: MockClock) -> None:
    async with site(tmp_path) as it:
        channel = await it.connect(NODES[0])
        began = trio.current_time()
        then = {"spread": 10, "timeout": 20}
        await it.worker.control.send({"type": "linger", "timeout": 300, "then": then})
        await channel.ended.wait()
        assert channel.close_code == 1012
        await it.worker.ended.wait()
        assert 300 <= trio.current_time() - began <= 320


async def status_of(it: Site) -> dict[str, int]:
    await it.worker.control.send({"type": "ask", "id": 1, "question": "status"})
    reply = await it.worker.control.receive()
    assert reply is not None
    status: dict[str, int] = reply["status"]
    return status
