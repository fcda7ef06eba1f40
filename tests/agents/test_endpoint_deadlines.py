"""``/wsagents/``: every limit on the way to 101, in mock time (ARCHITECTURE section 4).

Sockets are real, time is not: the clock jumps to the next deadline whenever nothing happens.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.runtime import handshakes
from gateway.runtime.drain import Drain
from gateway.runtime.handshakes import HandshakePlaces
from tests.agents.bridge import (
    COOKIE,
    agent_request,
    ask,
    bridged,
    check_refusal,
)
from tests.peers import scripted_controller as scripted
from tests.peers.raw_client import Answer, RawClient
from tests.peers.scripted_controller import (
    ScriptedController,
    Stage,
    Visit,
    accepting,
    stay_silent,
    stopping_at,
    string,
)

REQUEST: Final = agent_request({"Connection-Cookie": COOKIE})
TIMEOUT: Final = "the controller did not answer in time"
BUSY: Final = "too many connections, try again later"
AGENT_GIVES_UP: Final = 30.0
# The clock jumps exactly to a deadline; what runs before and after it takes no mock time.
A_MOMENT: Final = 0.01


async def timed(port: int, request: bytes = REQUEST) -> tuple[Answer, float]:
    """Return the answer and how long it took, in mock seconds."""
    started = trio.current_time()
    with trio.fail_after(AGENT_GIVES_UP):
        answer = await ask(port, request)
    return answer, trio.current_time() - started


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=A_MOMENT)


@pytest.mark.parametrize(
    ("stage", "waited_for"),
    [
        (Stage.ACK, "its ACK"),
        (Stage.TLS, "its TLS handshake"),
        (Stage.HEADERS, "the controller's headers"),
        (Stage.VERDICT, "the controller's verdict"),
        (Stage.CAPABILITY, "the controller's capability"),
    ],
)
async def test_a_controller_that_falls_silent(
    clock: MockClock, stage: Stage, waited_for: str, tmp_path: Path, log: LogCapture
) -> None:
    """20 s for the whole leg; then the controller's connection is cut, and the agent may go on."""
    controller = ScriptedController(stopping_at(stage, stay_silent))
    async with bridged(tmp_path, controller) as port:
        answer, took = await timed(port)
        check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
        assert took == about(20)
        assert f"waited 20 s for {waited_for}" in log.entries[-1]["reason"]
        await (await controller.wait_for_agents()).ended.wait()
        controller.script = accepting()
        assert (await ask(port, REQUEST)).status == 101


async def test_every_stage_in_time_but_not_all_of_them(
    clock: MockClock, tmp_path: Path, log: LogCapture
) -> None:
    """The limit is the leg's, not a stage's: 6 s each are too many."""

    async def slowly(visit: Visit) -> None:
        await trio.sleep(6)
        await visit.send(string("{}"))
        await visit.read_string()
        await trio.sleep(6)
        await visit.send(string("OK"))
        await visit.read_string()
        await trio.sleep(6)
        await visit.read_to_end()

    controller = ScriptedController(stopping_at(Stage.HEADERS, slowly))
    async with bridged(tmp_path, controller) as port:
        answer, took = await timed(port)
        check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
        assert took == about(20)


async def test_a_controller_that_sends_a_byte_at_a_time(
    clock: MockClock, tmp_path: Path, log: LogCapture
) -> None:
    """A trickle is no progress: it has the same 20 s."""

    async def trickle(visit: Visit) -> None:
        for byte in string("{}" + " " * 100):
            await visit.send(bytes((byte,)))
            await trio.sleep(1)

    controller = ScriptedController(stopping_at(Stage.HEADERS, trickle))
    async with bridged(tmp_path, controller) as port:
        answer, took = await timed(port)
        check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
        assert took == about(20)


async def test_a_controller_that_disconnects_an_older_session_first(
    clock: MockClock, tmp_path: Path
) -> None:
    """Jenkins takes up to 15 s for that before it says OK (A.7): the agent gets in."""

    async def late(visit: Visit) -> None:
        await trio.sleep(15)
        await visit.send(string("OK"))
        await visit.read_string()
        await visit.send(string(scripted.CAPABILITY))
        await visit.read_to_end()

    controller = ScriptedController(stopping_at(Stage.VERDICT, late))
    async with bridged(tmp_path, controller) as port:
        answer, took = await timed(port)
        assert answer.status == 101
        assert took == about(15)


@asynccontextmanager
async def dead_end() -> AsyncIterator[int]:
    """Yield a port that takes no connection: its backlog is full, so SYNs go unanswered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            fillers.append(filler)
        yield server.getsockname()[1]
        for filler in fillers:
            filler.close()


async def test_an_agent_port_that_does_not_even_connect(
    clock: MockClock, tmp_path: Path, log: LogCapture
) -> None:
    async with dead_end() as nowhere:
        controller = ScriptedController()
        controller.advertised_port = str(nowhere)
        async with bridged(tmp_path, controller) as port:
            answer, took = await timed(port)
            check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
            assert took == about(5)


# -- discovery ------------------------------------------------------------------------------------


async def _half_an_answer(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nX-Jenkins")
    await visit.read_to_end()


async def _half_a_body(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nJenk")
    await visit.read_to_end()


async def _trickle(visit: Visit) -> None:
    for byte in visit.controller.document():
        await visit.send(bytes((byte,)))
        await trio.sleep(1)


@pytest.mark.parametrize("hang", [stay_silent, _half_an_answer, _half_a_body, _trickle])
async def test_discovery_that_hangs(
    clock: MockClock, hang: scripted.Script, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController()
    controller.on_request = hang
    async with bridged(tmp_path, controller) as port:
        answer, took = await timed(port)
        check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
        assert took == about(5)
        assert controller.connections == 0


async def test_agents_that_wait_for_discovery_share_its_failure(
    clock: MockClock, tmp_path: Path
) -> None:
    """Fifty at once, and the controller is asked once; all hear of it after the same 5 s."""
    controller = ScriptedController()
    controller.on_request = stay_silent
    async with bridged(tmp_path, controller) as port:
        answers: list[tuple[Answer, float]] = []

        async def one() -> None:
            answers.append(await timed(port))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one)
        assert {answer.status for answer, _ in answers} == {504}
        assert {round(took) for _, took in answers} == {5}
        assert len(controller.requests) == 1


async def test_an_agent_that_leaves_does_not_take_discovery_with_it(
    clock: MockClock, tmp_path: Path
) -> None:
    """Whoever asks may leave; the next in line asks instead."""
    controller = ScriptedController()
    controller.on_request = stay_silent
    async with bridged(tmp_path, controller) as port:
        first = await RawClient.connect(port)
        await first.send(REQUEST)
        await controller.wait_for_requests()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect, port, 101)
            await trio.sleep(1)
            controller.on_request = scripted.answer_discovery
            await first.stream.aclose()
        assert len(controller.requests) == 2


async def _expect(port: int, status: int) -> None:
    assert (await ask(port, REQUEST)).status == status


async def test_without_url_a_silent_root_costs_five_seconds(
    clock: MockClock, tmp_path: Path
) -> None:
    """GET / on the TCP port only asks for the minimum version: without an answer it goes on."""
    controller = ScriptedController()
    controller.on_root = stay_silent
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        agents = {
            "address": f"127.0.0.1:{controller.agent_port}",
            "identity": controller.identity.header,
        }
        async with bridged(tmp_path, ScriptedController(), url=None, agents=agents) as port:
            answer, took = await timed(port)
            assert answer.status == 101
            assert answer.get(b"x-remoting-minimum-version") == b"4.2.1"
            assert took == about(5)
        nursery.cancel_scope.cancel()


# -- the total, and places ------------------------------------------------------------------------


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Give controllers another number of handshake places, and another queue in front of them."""

    def give(count: int, queue: int) -> None:
        def made(
            configured: int, *, rate: float, workers: int, drain: Drain, turned_away: object
        ) -> HandshakePlaces:
            assert (configured, rate, workers) == (64, 50, 1)
            return HandshakePlaces(count, queue=queue)

        monkeypatch.setattr(handshakes, "HandshakePlaces", made)

    return give


async def test_twenty_five_seconds_in_all(
    clock: MockClock, tmp_path: Path, log: LogCapture, places: Callable[[int, int], None]
) -> None:
    """9 s in the queue and 20 s on the leg are each allowed, but the agent waits 30 s at most."""
    places(1, 10)
    controller = ScriptedController(stopping_at(Stage.VERDICT, stay_silent))
    async with bridged(tmp_path, controller) as port:
        first = await RawClient.connect(port)
        await first.send(REQUEST)
        await controller.wait_for_agents()
        async with trio.open_nursery() as nursery:

            async def second() -> None:
                answer, took = await timed(port)
                check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
                assert took == about(25)

            nursery.start_soon(second)
            await trio.sleep(9)
            await first.stream.aclose()
        assert "no session within 25 s" in log.entries[-1]["reason"]
        await (await controller.wait_for_agents(2)).ended.wait()


@pytest.mark.parametrize("limit", [3, 29])
async def test_the_total_is_configured(
    clock: MockClock, limit: int, tmp_path: Path, log: LogCapture
) -> None:
    controller = ScriptedController(stopping_at(Stage.VERDICT, stay_silent))
    async with bridged(tmp_path, controller, handshake_timeout=limit) as port:
        answer, took = await timed(port)
        check_refusal(answer, log, 504, TIMEOUT, cookie=COOKIE)
        assert took == about(min(limit, 20))


async def test_handshake_places_are_all_taken(
    clock: MockClock, tmp_path: Path, log: LogCapture
) -> None:
    """64 at a time per controller; who finds no place in 10 s is told to come back."""
    controller = ScriptedController(stopping_at(Stage.ACK, stay_silent))
    async with bridged(tmp_path, controller) as port, trio.open_nursery() as nursery:
        for _ in range(64):
            nursery.start_soon(_expect, port, 504)
        await controller.wait_for_agents(64)
        answer, took = await timed(port)
        check_refusal(answer, log, 503, BUSY, cookie=COOKIE)
        assert took == about(10)
        assert len(controller.agents) == 64


async def test_the_queue_for_places_is_bounded(
    clock: MockClock, tmp_path: Path, log: LogCapture, places: Callable[[int, int], None]
) -> None:
    places(1, 2)
    controller = ScriptedController(stopping_at(Stage.ACK, stay_silent))
    async with bridged(tmp_path, controller) as port, trio.open_nursery() as nursery:
        nursery.start_soon(_expect, port, 504)
        await controller.wait_for_agents()
        for _ in range(2):
            nursery.start_soon(_expect, port, 503)
        await trio.testing.wait_all_tasks_blocked(0.02)
        answer, took = await timed(port)
        check_refusal(answer, log, 503, BUSY, cookie=COOKIE)
        assert took == about(0)


async def test_the_pace_is_kept(clock: MockClock, tmp_path: Path, log: LogCapture) -> None:
    """One a second: who has a turn within 10 s waits for it, who has none is told at once."""
    controller = ScriptedController()
    waited: list[float] = []

    async def connect() -> None:
        answer, took = await timed(port)
        assert answer.status == 101
        waited.append(round(took))

    async with bridged(tmp_path, controller, handshake_rate=1) as port:
        await _turns(port, connect, log)
    assert sorted(waited) == list(range(11))


async def _turns(port: int, connect: Callable[[], Awaitable[None]], log: LogCapture) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(11):
            nursery.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked(0.02)
        answer, took = await timed(port)
        check_refusal(answer, log, 503, BUSY, cookie=COOKIE)
        assert took == about(0)
        assert "11 s (agents.handshake_rate)" in log.entries[-1]["reason"]


async def test_a_place_is_given_back(
    clock: MockClock, tmp_path: Path, places: Callable[[int, int], None]
) -> None:
    """By the accepted, the refused, the failed and those who left."""
    places(1, 10)
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        for script, status in (
            (accepting(), 101),
            (scripted.refusing("ERROR: Authorization failure"), 403),
            (stopping_at(Stage.VERDICT, scripted.close), 503),
            (stopping_at(Stage.HEADERS, stay_silent, identity=scripted.other_identity()), 502),
            (stopping_at(Stage.VERDICT, stay_silent), 504),
        ):
            controller.script = script
            # A node of its own: a secret that was refused is not asked about again for a minute.
            request = agent_request({"Node-Name": f"node-{status}"})
            assert (await ask(port, request)).status == status
        async with await RawClient.connect(port) as leaver:
            count = len(controller.agents)
            await leaver.send(agent_request({"Node-Name": "leaver"}))
            await controller.wait_for_agents(count + 1)
        controller.script = accepting()
        answer, took = await timed(port)
        assert answer.status == 101
        assert took == about(0)
