"""One worker seen from the supervisor: questions, answers, and none of them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.agents.takeover import OTHERS_ANSWER
from gateway.runtime.session_loop import CHALLENGE
from gateway.server import children
from gateway.server.children import ANSWER, MOST_QUESTIONS, RELOAD_ANSWER, Child, State, take_over
from gateway.server.control import MAX_MESSAGE, Message
from gateway.server.processes import Process
from tests.server.played import PlayedWorker, played_child


class Ears:
    """Notes who became ready, and answers questions."""

    def __init__(self) -> None:
        self.ready: list[Child] = []
        self.answering = 0
        self.may_answer = trio.Event()
        self.may_answer.set()

    def became_ready(self, child: Child) -> None:
        self.ready.append(child)

    async def asked(self, child: Child, message: Message) -> Message:
        self.answering += 1
        await self.may_answer.wait()
        return {"session": {"of": message["node"]}}


@asynccontextmanager
async def talking(ears: Ears) -> AsyncIterator[tuple[Child, PlayedWorker]]:
    child, worker = played_child()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.listen_to, ears.became_ready, ears.asked)
        yield child, worker
        nursery.cancel_scope.cancel()
    await worker.control.aclose()
    await child.control.aclose()


async def test_a_reload_in_two_steps() -> None:
    async with talking(Ears()) as (child, worker), trio.open_nursery() as nursery:

        async def obey() -> None:
            for number in (2, 3):
                assert await worker.expect("prepare") == {
                    "type": "prepare",
                    "generation": number,
                    "snapshot": {"a": number},
                }
                await worker.control.send({"type": "prepared", "generation": number})
                assert (await worker.expect("commit"))["generation"] == number
                await worker.control.send({"type": "prepared", "generation": 77})  # for nobody
                await worker.control.send({"type": "reloaded", "generation": number})

        nursery.start_soon(obey)
        for number in (2, 3):
            assert await child.prepare(number, {"a": number}) is None
            assert child.generation == number - 1
            assert await child.commit(number) is None
            assert child.generation == number


@pytest.mark.parametrize("step", ["prepare", "commit"])
async def test_a_worker_that_cannot(step: str) -> None:
    async with talking(Ears()) as (child, worker), trio.open_nursery() as nursery:

        async def fail() -> None:
            await worker.expect(step)
            failed = {"type": "reload_failed", "generation": 2, "reason": "no such file"}
            await worker.control.send(failed)

        nursery.start_soon(fail)
        call = child.prepare(2, {}) if step == "prepare" else child.commit(2)
        assert await call == "no such file"
        assert child.generation == 1


async def test_a_worker_that_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(Ears()) as (child, worker):
        reason = await child.prepare(2, {})
        assert reason == f"worker {worker.process.pid} did not answer within 30 s"
        assert trio.current_time() == RELOAD_ANSWER
        assert await child.ask("status") is None
        assert trio.current_time() == RELOAD_ANSWER + ANSWER
        assert await child.ask("claim") is None
        waited = trio.current_time() - RELOAD_ANSWER - ANSWER
        assert waited == OTHERS_ANSWER > CHALLENGE, "it may have to challenge an agent first"
        assert worker.process.status is None  # it may only be slow, and has sessions


async def test_a_worker_that_reads_nothing_is_killed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Half a message is on its way to it, so that nothing that follows could be understood."""
    async with talking(Ears()) as (child, worker):
        with capture_logs() as logs:
            await child.prepare(2, {"a": "x" * (MAX_MESSAGE // 2)})
        assert worker.process.status == -9
        assert logs[0]["event"] == "a worker takes no messages; killing it"


async def test_a_worker_that_dies_is_no_obstacle(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(Ears()) as (child, worker), trio.open_nursery() as nursery:

        async def die() -> None:
            await worker.expect("prepare")
            await worker.die()

        nursery.start_soon(die)
        assert await child.prepare(2, {}) is None
        assert await child.commit(2) is None
        assert not await child.tell("stop")
    assert trio.current_time() == 0


async def test_questions_have_the_answer_that_is_theirs() -> None:
    async with talking(Ears()) as (child, worker), trio.open_nursery() as nursery:
        answers: dict[str, Message | None] = {}

        async def ask(node: str) -> None:
            answers[node] = await child.ask("node", controller="main", node=node)

        for node in "abc":
            nursery.start_soon(ask, node)
        questions = [await worker.expect("ask") for _ in range(3)]
        for question in reversed(questions):
            answer = {"type": "answer", "id": question["id"], "session": question["node"]}
            await worker.control.send(answer)
    assert {node: (answer or {})["session"] for node, answer in answers.items()} == {
        "a": "a",
        "b": "b",
        "c": "c",
    }


async def test_a_workers_own_questions() -> None:
    ears = Ears()
    async with talking(ears) as (child, worker):
        await worker.control.send({"type": "ready"})
        await worker.control.send({"type": "ask", "id": 5, "question": "node", "node": "a"})
        answer = await worker.expect("answer")
        assert answer == {"type": "answer", "id": 5, "session": {"of": "a"}}
        assert ears.ready == [child]


async def test_a_worker_that_asks_too_much_waits() -> None:
    ears = Ears()
    ears.may_answer = trio.Event()
    async with talking(ears) as (_, worker), trio.open_nursery() as nursery:

        async def ask() -> None:
            for i in range(MOST_QUESTIONS + 10):
                await worker.control.send({"type": "ask", "id": i, "node": "a"})

        nursery.start_soon(ask)
        while ears.answering < MOST_QUESTIONS:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert ears.answering == MOST_QUESTIONS
        ears.may_answer.set()
        for _ in range(MOST_QUESTIONS + 10):
            await worker.expect("answer")


async def test_a_worker_that_talks_nonsense_is_killed() -> None:
    ears = Ears()
    child, worker = played_child()
    with capture_logs() as logs:
        await worker.control._stream.send_all(b"\xff\xff\xff\xff")
        await child.listen_to(ears.became_ready, ears.asked)
    assert worker.process.status == -9
    assert logs[0]["event"] == "the worker cannot be understood; killing it"
    await worker.control.aclose()
    await child.control.aclose()


async def test_a_worker_goes_from_one_program_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what it had said by then, even half a message."""
    child, worker = played_child(slot=2)
    child.state, child.started, child.linger_until = State.LINGERING, 5.0, 9.0
    message = json.dumps({"type": "answer", "id": 0, "session": None}).encode()
    data = len(message).to_bytes(4, "big") + message
    await worker.control._stream.send_all(data[:7])
    with trio.move_on_after(0.05):
        await child.control.receive()
    await child.control.freeze()
    words = json.loads(json.dumps(child.in_words()))
    child.let_go()
    assert child.wire.fileno() == -1
    assert worker.process.is_let_go

    taken: list[int] = []

    def process(pid: int) -> Process:
        taken.append(pid)
        return child.process

    monkeypatch.setattr(children, "Process", process)
    again = take_over(words)
    assert again is not None
    assert taken == [worker.process.pid]
    assert (again.slot, again.incarnation, again.generation) == (2, 1, 1)
    assert (again.state, again.started, again.linger_until) == (State.LINGERING, 5.0, 9.0)
    await worker.control._stream.send_all(data[7:])
    assert await again.control.receive() == {"type": "answer", "id": 0, "session": None}
    assert await again.tell("stop")
    await worker.expect("stop")
    await worker.control.aclose()
    await again.control.aclose()


async def test_its_descriptor_is_the_control_streams() -> None:
    child, worker = played_child()
    with socket.socket(fileno=os.dup(child.in_words()["control"])) as copy:
        assert copy.family == socket.AF_UNIX
    await worker.control.aclose()
    await child.control.aclose()


async def test_one_that_is_gone_is_not_taken_over() -> None:
    """Its id may be anybody's."""
    ours, theirs = socket.socketpair()
    with theirs:
        words = {"control": ours.detach(), "pid": 2**22 + 1}
        with capture_logs() as logs:
            assert take_over(words) is None
        assert theirs.recv(1) == b""  # it is closed
    assert logs[0]["event"] == "a worker cannot be taken over"


async def test_one_that_owes_an_answer_is_known_to(autojump_clock: trio.testing.MockClock) -> None:
    async with talking(Ears()) as (child, worker):
        assert not child.is_silent
        assert await child.ask("status") is None
        assert child.is_silent
        question = await worker.expect("ask")
        await worker.control.send({"type": "answer", "id": question["id"]})  # late
        await trio.testing.wait_all_tasks_blocked()
        assert not child.is_silent


async def test_a_slow_answer_of_another_kind_is_no_debt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with talking(Ears()) as (child, _):
        assert await child.ask("claim") is None
        assert not child.is_silent
