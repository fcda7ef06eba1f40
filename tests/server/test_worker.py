"""A worker from ready to stopped, on real sockets.

Time stands still where a test takes ``mock_clock``: whatever ends there did not wait for a limit.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import Delay, Faults, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.errors import ConfigError
from gateway.server.ending import STOP_TIMEOUT
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener, bind
from tests.certificates import client_context
from tests.peers.raw_client import RawClient, Truncated
from tests.peers.raw_origin import OriginConnection, RawOrigin, answering
from tests.server.workers import HOST, Worker, make_config, running_worker
from tests.shortage import no_descriptors

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NODE = "linux-1"
COOKIE = "0123456789abcdef"


@pytest.fixture(scope="module")
def identity() -> InstanceIdentity:
    """One key for all controllers here: making one takes long."""
    return InstanceIdentity()


@asynccontextmanager
async def worker_before(origin: RawOrigin, folder: Path, **more: Any) -> AsyncIterator[Worker]:
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        config = make_config(folder, f"http://{HOST}:{origin.port}/", **more)
        async with running_worker(config) as worker:
            yield worker
        nursery.cancel_scope.cancel()


async def test_a_shortage_of_descriptors_is_one_line_in_a_while(tmp_path: Path) -> None:
    """There is a try ten times a second."""
    async with worker_before(RawOrigin(answering(OK)), tmp_path) as worker:
        sock = trio.socket.socket()
        with capture_logs() as log:
            with no_descriptors():
                await sock.connect((HOST, worker.plain))
                await trio.sleep(0.35)
            async with RawClient(trio.SocketStream(sock)) as client:
                assert (await client.ask(GET)).status == 200
    waiting = [line for line in log if line["event"] == "cannot accept connections"]
    assert waiting[0]["reason"] == "too many open files"
    assert "count" not in waiting[0]
    assert len(waiting) <= 2  # the second, with the count, at the end
    assert "exc_info" not in waiting[0]


@asynccontextmanager
async def worker_with_agent(
    controller: StandInController, folder: Path
) -> AsyncIterator[tuple[Worker, SimulatedAgent]]:
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_worker(make_config(folder, controller.url)) as worker:
            url, secret = f"https://{HOST}:{worker.tls}/", controller.secret(NODE)
            yield worker, SimulatedAgent(url, NODE, secret, tls=client_context())
        nursery.cancel_scope.cancel()


async def tls_connection(port: int) -> trio.SSLStream[trio.SocketStream]:
    stream = trio.SSLStream(
        await trio.open_tcp_stream(HOST, port),
        client_context(),
        server_hostname=HOST,
        https_compatible=True,
    )
    await stream.do_handshake()
    return stream


async def read_end(stream: trio.abc.Stream) -> None:
    """Expect the end of a connection on which nothing was said."""
    with suppress(trio.BrokenResourceError):  # closed with a part of a handshake unread
        assert await stream.receive_some() == b""


# -- starting --------------------------------------------------------------------------------------


async def test_both_listeners_serve(tmp_path: Path) -> None:
    async with worker_before(RawOrigin(answering(OK)), tmp_path) as worker:
        async with await RawClient.connect(worker.plain) as client:
            assert (await client.ask(GET)).body == b"ok"
        async with RawClient(await tls_connection(worker.tls)) as client:
            assert (await client.ask(GET)).body == b"ok"


async def test_a_certificate_that_cannot_be_used_comes_before_ready(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    (tmp_path / f"{HOST}.crt").write_text("nothing")
    bound = [
        BoundListener(each, trio.socket.from_stdlib_socket(bind(each))) for each in config.listeners
    ]
    started: list[None] = []

    class Status:
        def started(self, value: None = None) -> None:
            started.append(value)

    with pytest.raises(ConfigError, match=f"{HOST}.crt: cannot be used"):
        await serve(bound, config, task_status=Status())
    assert started == []
    assert [each.socket.fileno() for each in bound] == [-1, -1]


async def test_without_a_supervisor_it_serves_until_cancelled(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    bound = [
        BoundListener(each, trio.socket.from_stdlib_socket(bind(each))) for each in config.listeners
    ]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, bound, config)
        async with await RawClient.connect(bound[0].port) as client:
            nursery.cancel_scope.cancel()
    assert client.buffer == b""
    assert [each.socket.fileno() for each in bound] == [-1, -1]


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_beyond_its_places_a_connection_is_cut(tmp_path: Path, limit: str) -> None:
    async with worker_before(RawOrigin(answering(OK)), tmp_path, limits={limit: 1}) as worker:
        async with await RawClient.connect(worker.plain) as first:
            assert (await first.ask(GET)).status == 200
            with capture_logs() as logs:
                for _ in range(3):  # a flood is one line
                    async with await RawClient.connect(worker.plain) as second:
                        with pytest.raises(Truncated):
                            await second.read_to_end()
            assert [line["event"] for line in logs] == ["connection refused"]
            assert (await first.ask(GET)).status == 200
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with await RawClient.connect(worker.plain) as third:
            assert (await third.ask(GET)).status == 200


# -- stopping: who gives the word ------------------------------------------------------------------


async def test_trusted_proxies_share_no_limit_of_an_address(tmp_path: Path) -> None:
    more = {"limits": {"connections_per_address": 1}, "trusted_proxies": [f"{HOST}/32"]}
    async with (
        worker_before(RawOrigin(answering(OK)), tmp_path, **more) as worker,
        await RawClient.connect(worker.plain),
        await RawClient.connect(worker.plain),
        await RawClient.connect(worker.plain) as third,
    ):
        assert (await third.ask(GET)).status == 200


async def test_a_handshake_is_given_as_long_as_configured(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    limits = {"tls_handshake_timeout": 7.0}
    async with (
        worker_before(RawOrigin(answering(OK)), tmp_path, limits=limits) as worker,
        await trio.open_tcp_stream(HOST, worker.tls) as silent,
    ):
        await trio.testing.wait_all_tasks_blocked(0.05)
        with capture_logs() as logs:
            mock_clock.jump(6.9)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert logs == []
            mock_clock.jump(0.2)
            await read_end(silent)
        assert [line["event"] for line in logs] == ["tls handshake failed"]


async def test_other_messages_are_not_the_word(tmp_path: Path) -> None:
    async with running_worker(make_config(tmp_path)) as worker:
        await worker.control.send({"type": "hello"})
        await worker.control.send({})
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not worker.ended.is_set()
        await worker.stop()
        await worker.ended.wait()
        assert worker.is_closed()


async def test_a_supervisor_that_is_gone_is_the_word_too(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running_worker(make_config(tmp_path)) as worker:
            await worker.control.aclose()
            await worker.ended.wait()
    assert logs[0]["event"] == "the supervisor is gone; stopping"


async def test_a_supervisor_that_is_gone_before_ready_is_the_word_too(tmp_path: Path) -> None:
    worker = Worker(make_config(tmp_path))
    await worker.control.aclose()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
    assert worker.ended.is_set()


async def test_nonsense_from_the_supervisor_is_the_word_too(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running_worker(make_config(tmp_path)) as worker:
            await worker.wire.send_all(b"\xff\xff\xff\xff")
            await worker.ended.wait()
    assert logs[0]["event"] == "the supervisor cannot be understood; stopping"


# -- stopping: what becomes of connections ---------------------------------------------------------


async def test_500_idle_connections_do_not_hold_it_up(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with (
        worker_before(RawOrigin(answering(OK)), tmp_path) as worker,
        AsyncExitStack() as stack,
    ):
        idle: list[trio.abc.Stream] = []
        for _ in range(20):
            client = await RawClient.connect(worker.plain)
            assert (await client.ask(GET)).get(b"connection") is None
            idle.append(client.stream)
            idle.append(await tls_connection(worker.tls))
            began = await trio.open_tcp_stream(HOST, worker.tls)
            await began.send_all(b"\x16\x03\x01\x02\x00")  # the head of a ClientHello
            idle.append(began)
        while len(idle) < 500:
            idle.append(await trio.open_tcp_stream(HOST, worker.plain))
            idle.append(await trio.open_tcp_stream(HOST, worker.tls))
        for stream in idle:
            stack.push_async_callback(stream.aclose)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with capture_logs() as logs:
            await worker.stop()
            await worker.ended.wait()
        for stream in idle:
            await read_end(stream)
    # Nobody did anything wrong: no line for any of them.
    assert [line["event"] for line in logs] == ["worker is stopping"]


async def test_a_request_being_served_is_answered_and_newcomers_are_refused(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    may_answer = trio.Event()

    async def script(connection: OriginConnection) -> None:
        await connection.read_request()
        await may_answer.wait()
        await connection.send(OK)

    async with worker_before(RawOrigin(script), tmp_path) as worker:
        async with await RawClient.connect(worker.plain) as client:
            await client.send(GET)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await worker.stop()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert worker.is_closed()
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream(HOST, worker.plain)
            assert not worker.ended.is_set()
            may_answer.set()
            answer = await client.read_answer()
            assert (answer.body, answer.get(b"connection")) == (b"ok", b"close")
            assert await client.read_to_end() == b""
        await worker.ended.wait()


async def test_what_takes_too_long_is_cut(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async def never(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.wait_for_end()

    async with (
        worker_before(RawOrigin(never), tmp_path) as worker,
        await RawClient.connect(worker.plain) as client,
    ):
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await worker.stop()
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(STOP_TIMEOUT - 0.1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not worker.ended.is_set()
        with capture_logs() as logs:
            mock_clock.jump(0.2)
            await worker.ended.wait()
        assert [line["event"] for line in logs] == ["connections were cut"]
        with pytest.raises(Truncated):
            await client.read_answer()


# -- stopping: what becomes of agents --------------------------------------------------------------


async def test_a_session_ends_with_1012(
    tmp_path: Path, identity: InstanceIdentity, mock_clock: trio.testing.MockClock
) -> None:
    controller = StandInController({NODE: INBOUND}, identity=identity, on_channel=echo)
    async with (
        worker_with_agent(controller, tmp_path) as (worker, agent),
        trio.open_nursery() as nursery,
    ):
        channel = await agent.connect(nursery)
        assert isinstance(channel, AgentChannel)
        await channel.send_command(b"ping")
        assert await channel.receive_command() == b"ping"
        with capture_logs() as logs:
            await worker.stop()
            await worker.ended.wait()
        await channel.ended.wait()
        assert channel.close_code == 1012
        await controller.wait_for_no_channel(NODE)
    stopping, ended = logs
    assert (stopping["event"], stopping["sessions"]) == ("worker is stopping", 1)
    assert (ended["event"], ended["close_code"], ended["by"]) == ("session ended", 1012, "gateway")


async def test_an_agent_whose_handshake_is_under_way_is_told_to_come_back(
    tmp_path: Path, identity: InstanceIdentity, mock_clock: trio.testing.MockClock
) -> None:
    controller = StandInController(
        {NODE: INBOUND}, identity=identity, faults=Faults({Stage.CAPABILITY: Delay(5)})
    )
    async with worker_with_agent(controller, tmp_path) as (worker, agent):
        agent.cookie = COOKIE
        found: list[object] = []

        async def connect() -> None:
            async with trio.open_nursery() as nursery:
                found.append(await agent.connect(nursery))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            while not (controller.attempts and controller.attempts[-1].peer_verdict):
                await trio.testing.wait_all_tasks_blocked(0.01)
            await worker.stop()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not worker.ended.is_set()
            mock_clock.jump(5)
        (answer,) = found
        assert isinstance(answer, Answer)
        assert answer.status == 503
        assert answer.header("X-Gateway-Error") == "the gateway is shutting down, try again"
        assert agent.cookie == COOKIE  # echoed, or it would have been forgotten
        await worker.ended.wait()
        await controller.attempts[-1].finished.wait()  # the first one was Protocol:Ping
        await controller.wait_for_no_channel(NODE)


async def test_an_agent_that_asks_just_now_is_told_to_come_back(
    tmp_path: Path, identity: InstanceIdentity, mock_clock: trio.testing.MockClock
) -> None:
    controller = StandInController({NODE: INBOUND}, identity=identity)
    head = b"GET /login HTTP/1.1\r\nUser-Agent: Java/17\r\n"
    async with worker_with_agent(controller, tmp_path) as (worker, _):
        async with await RawClient.connect(worker.plain) as client:
            await client.send(head)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await worker.stop()
            await trio.testing.wait_all_tasks_blocked(0.01)
            answer = await client.ask(b"Host: a\r\n\r\n")
            assert (answer.status, answer.get(b"connection")) == (503, b"close")
        await worker.ended.wait()
    assert list(controller.requests) == []


# -- other workers ---------------------------------------------------------------------------------


async def test_takeovers_in_other_workers_count(tmp_path: Path, identity: InstanceIdentity) -> None:
    """Also those that no session has carried here; news of other forms change nothing."""
    controller = StandInController({NODE: INBOUND}, identity=identity, on_channel=echo)
    nameless = {"controller": "main", "node": NODE}
    news: list[dict[str, Any]] = [{}, {"takeover": "x"}, {**nameless, "takeover": [None, "a", "b"]}]
    news += [{**nameless, "takeover": [time.time() - ago, HOST, HOST]} for ago in (9, 6, 3)]
    async with (
        worker_with_agent(controller, tmp_path) as (worker, agent),
        trio.open_nursery() as nursery,
    ):
        assert isinstance(await agent.connect(nursery), AgentChannel)
        said = []
        for number in (0, 1):
            agent.cookie = None
            answer = await agent.connect(nursery)
            assert isinstance(answer, Answer), answer
            said.append((answer.header("X-Gateway-Error") or "").rpartition("Z. ")[2])
            for each in news * (1 - number):
                await worker.control.send({"type": "ask", "id": 7, "question": "takeover", **each})
                assert await worker.control.receive() == {"type": "answer", "id": 7}
        assert said == ["It is alive.", "Two agents use this name."]
        nursery.cancel_scope.cancel()
