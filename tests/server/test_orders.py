"""The worker's side of the control stream: every message, and its answer."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.errors import ConfigError
from gateway.server.control import ControlStream, Message
from gateway.server.ending import STOP_TIMEOUT, Linger, Stop
from gateway.server.orders import Orders


class FakeWorker:
    """Notes what it is told to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.failure: Exception | None = None
        self.may_prepare = trio.Event()
        self.may_prepare.set()

    async def prepare(self, number: int, snapshot: object) -> None:
        await self.may_prepare.wait()
        if self.failure is not None:
            raise self.failure
        self.done.append(("prepare", number, snapshot))

    def commit(self, number: int) -> bool:
        self.done.append(("commit", number))
        return number != 99

    def abandon(self, number: int) -> None:
        self.done.append(("abandon", number))

    def listen(self, slot: int) -> None:
        self.done.append(("listen", slot))

    def unlisten(self, slot: int) -> None:
        self.done.append(("unlisten", slot))

    def end(self, order: Stop | Linger) -> None:
        self.done.append(order)

    def status(self) -> dict[str, Any]:
        return {"sessions": 3}

    def session_of(self, controller: str, node: str) -> dict[str, Any] | None:
        return {"session": f"{controller}/{node}"} if node == "a" else None

    async def judge(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        await trio.sleep(claim["takes"])
        return claim["answer"]  # type: ignore[no-any-return]

    def sessions(self) -> list[dict[str, Any]]:
        return [{"session": "s1"}]

    def answer(self, question: str, message: dict[str, Any]) -> dict[str, Any] | None:
        return {"said": message["word"]} if question == "known" else None

    def timeline(self, node: str) -> list[dict[str, Any]]:
        return [{"event": "opened"}] if node == "a" else []


class Side:
    """The supervisor's end."""

    def __init__(self, wire: trio.abc.Stream, worker: FakeWorker, orders: Orders) -> None:
        self.orders = orders
        self.wire = wire
        self.control = ControlStream(wire)
        self.worker = worker
        self.ended = trio.Event()

    async def ask(self, message: Message) -> Message | None:
        await self.control.send(message)
        return await self.control.receive()

    async def tell(self, message: Message) -> list[Any]:
        await self.control.send(message)
        await trio.testing.wait_all_tasks_blocked()
        return self.worker.done


@asynccontextmanager
async def obeying() -> AsyncIterator[Side]:
    wire, near = trio.testing.memory_stream_pair()
    worker = FakeWorker()
    side = Side(wire, worker, Orders(ControlStream(near), worker))

    async def run() -> None:
        await side.orders.run()
        side.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        assert await side.control.receive() == {"type": "ready"}
        yield side
        nursery.cancel_scope.cancel()


async def test_the_two_steps_of_a_reload() -> None:
    async with obeying() as side:
        prepared = await side.ask({"type": "prepare", "generation": 4, "snapshot": {"a": 1}})
        assert prepared == {"type": "prepared", "generation": 4}
        reloaded = await side.ask({"type": "commit", "generation": 4})
        assert reloaded == {"type": "reloaded", "generation": 4}
        await side.tell({"type": "abandon", "generation": 5})
        assert side.worker.done == [("prepare", 4, {"a": 1}), ("commit", 4), ("abandon", 5)]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ConfigError("tls.crt: cannot be used"), "tls.crt: cannot be used"),
        (LookupError("a secret"), "internal error (LookupError)"),
    ],
)
async def test_what_cannot_be_prepared_is_told(failure: Exception, reason: str) -> None:
    with capture_logs() as logs:
        async with obeying() as side:
            side.worker.failure = failure
            assert await side.ask({"type": "prepare", "generation": 4, "snapshot": {}}) == {
                "type": "reload_failed",
                "generation": 4,
                "reason": reason,
            }
    assert bool(logs) is not isinstance(failure, ConfigError)


async def test_what_was_not_prepared_cannot_be_committed() -> None:
    async with obeying() as side:
        assert await side.ask({"type": "commit", "generation": 99}) == {
            "type": "reload_failed",
            "generation": 99,
            "reason": "no such generation was prepared",
        }


async def test_a_preparation_that_hangs_holds_nothing_else_up() -> None:
    async with obeying() as side:
        side.worker.may_prepare = trio.Event()
        await side.control.send({"type": "prepare", "generation": 4, "snapshot": {}})
        assert await side.tell({"type": "stop"}) == [Stop()]
        answer = await side.ask({"type": "ask", "id": 1, "question": "status"})
        assert answer == {"type": "answer", "id": 1, "status": {"sessions": 3}}
        await side.control.aclose()
        await side.ended.wait()


@pytest.mark.parametrize("then", ["abandon", "prepare"])
async def test_a_preparation_that_nobody_waits_for_is_given_up(then: str) -> None:
    async with obeying() as side:
        side.worker.may_prepare = trio.Event()
        await side.tell({"type": "prepare", "generation": 4, "snapshot": {"a": 4}})
        await side.tell({"type": then, "generation": 4 + (then == "prepare"), "snapshot": {"a": 5}})
        side.worker.may_prepare.set()
        await trio.testing.wait_all_tasks_blocked()
        if then == "abandon":
            await side.tell({"type": "prepare", "generation": 5, "snapshot": {"a": 5}})
        assert await side.control.receive() == {"type": "prepared", "generation": 5}
        assert [each for each in side.worker.done if each[0] == "prepare"] == [
            ("prepare", 5, {"a": 5})
        ]
        assert ("abandon", 4) in side.worker.done
        assert ("abandon", 5) not in side.worker.done


@pytest.mark.parametrize(
    ("message", "order"),
    [
        ({"type": "stop"}, Stop(0, STOP_TIMEOUT)),
        ({"type": "stop", "spread": 30, "timeout": 300}, Stop(30, 300)),
        ({"type": "stop", "spread": 30, "timeout": None}, Stop(30, math.inf)),
        ({"type": "linger", "timeout": 60}, Linger(60, Stop(10, 300))),
        (
            {"type": "linger", "timeout": 60, "then": {"spread": 1, "timeout": 2}},
            Linger(60, Stop(1, 2)),
        ),
    ],
)
async def test_how_to_end(message: Message, order: Stop | Linger) -> None:
    async with obeying() as side:
        assert await side.tell(message) == [order]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"question": "status"}, {"status": {"sessions": 3}}),
        (
            {"question": "node", "controller": "main", "node": "a"},
            {"session": {"session": "main/a"}},
        ),
        ({"question": "node", "controller": "main", "node": "b"}, {"session": None}),
        ({"question": "sessions"}, {"sessions": [{"session": "s1"}]}),
        ({"question": "timeline", "node": "a"}, {"events": [{"event": "opened"}]}),
        ({"question": "timeline", "node": "b"}, {"events": []}),
        ({"question": "claim", "claim": {"takes": 0, "answer": None}}, {"session": None}),
        ({"question": "claim", "claim": {"takes": 0, "answer": {"a": 1}}}, {"session": {"a": 1}}),
        ({"question": "claim", "claim": {}}, {"error": "the claim is not understood (KeyError)"}),
        ({"question": "known", "word": "x"}, {"said": "x"}),
        ({"question": "why"}, {"error": "unknown question"}),
        ({}, {"error": "unknown question"}),
    ],
)
async def test_questions(question: Message, answer: Message) -> None:
    async with obeying() as side:
        asked = {"type": "ask", "id": 17, **question}
        assert await side.ask(asked) == {"type": "answer", "id": 17, **answer}


async def test_a_challenge_holds_up_nothing_else(autojump_clock: MockClock) -> None:
    async with obeying() as side:
        claim = {"type": "ask", "id": 1, "question": "claim", "claim": {"takes": 5, "answer": None}}
        await side.control.send(claim)
        status = await side.ask({"type": "ask", "id": 2, "question": "status"})
        assert status == {"type": "answer", "id": 2, "status": {"sessions": 3}}
        assert trio.current_time() < 1
        assert await side.control.receive() == {"type": "answer", "id": 1, "session": None}


async def test_the_worker_asks_the_others(autojump_clock: MockClock) -> None:
    async with obeying() as side, trio.open_nursery() as nursery:
        answers: list[Message | None] = []

        async def ask(node: str) -> None:
            answers.append(await side.orders.ask_others("claim", within=7, node=node))

        nursery.start_soon(ask, "a")
        first = await side.control.receive()
        nursery.start_soon(ask, "b")
        second = await side.control.receive()
        assert first is not None
        assert second is not None
        assert (first["type"], first["question"], first["node"]) == ("ask", "claim", "a")
        for asked in (second, first):
            await side.control.send({"type": "answer", "id": asked["id"], "session": asked["node"]})
        await side.control.send({"type": "answer", "id": 999, "session": "nobody asked"})
        await trio.testing.wait_all_tasks_blocked()
        assert [None if each is None else each["session"] for each in answers] == ["b", "a"]


async def test_who_asks_may_leave_and_nobody_may_answer(autojump_clock: MockClock) -> None:
    async with obeying() as side:
        with trio.CancelScope() as scope:
            scope.cancel()
            await side.orders.ask_others("claim", within=7)
        assert (await side.control.receive() or {})["question"] == "claim", "a whole message"
        assert await side.orders.ask_others("claim", within=7) is None
        assert trio.current_time() == pytest.approx(7)


async def test_other_messages_are_ignored() -> None:
    async with obeying() as side:
        await side.tell({"type": "from the future"})
        assert await side.tell({}) == []
        assert not side.ended.is_set()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"\xff\xff\xff\xff", "the supervisor cannot be understood; stopping"),
        (b"\x00\x00\x00\x13" + b'{"type": "prepare"}', "the supervisor cannot be understood"),
        (
            b"\x00\x00\x00\x25" + b'{"type": "linger", "timeout": "1h"  }',
            "the supervisor cannot be",
        ),
        (b"\x00\x00\x00\x10" + b'{"type": "stop",', "the supervisor cannot be understood"),
    ],
)
async def test_nonsense_is_the_word_to_stop(damage: bytes, said: str) -> None:
    with capture_logs() as logs:
        async with obeying() as side:
            await side.wire.send_all(damage)
            await side.ended.wait()
            assert side.worker.done == [Stop()]
    assert logs[0]["event"].startswith(said)


async def test_a_supervisor_that_does_not_listen_is_gone() -> None:
    with capture_logs() as logs:
        async with obeying() as side:
            await side.control.send({"type": "ask", "id": 1, "question": "status"})
            await side.control.aclose()
            await side.ended.wait()
            assert side.worker.done == [Stop()]
    assert logs[-1]["event"] == "the supervisor is gone; stopping"


async def test_other_workers_slots() -> None:
    async with obeying() as side:
        await side.tell({"type": "listen", "slot": 3})
        await side.tell({"type": "unlisten", "slot": 3})
        assert side.worker.done == [("listen", 3), ("unlisten", 3)]
