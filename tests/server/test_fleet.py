"""All workers: every slot accepted on, one configuration for all, and their end. Time is mocked."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.config.values import Secret
from gateway.server.children import ANSWER, RELOAD_ANSWER, TAKE, Child, State
from gateway.server.fleet import (
    HURRY,
    KILL_AFTER,
    OVERDUE_LOOK,
    Fleet,
    InForce,
    StopOrder,
)
from gateway.server.freezing import FREEZE, RELOAD_ENDS
from gateway.server.settings_spread import AGAIN
from gateway.server.slots import bind_slots
from gateway.server.snapshot import read_snapshot
from tests.server.played import PlayedWorker, Stage, played_child

HOST = "127.0.0.1"
Clock = trio.testing.MockClock


def make_config(**more: Any) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": f"{HOST}:0"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            **more,
        }
    )


class Rig:
    """A fleet with played workers; ``status`` is its exit status once it has ended."""

    def __init__(
        self,
        workers: int = 2,
        *,
        old: list[Child] | None = None,
        slots: int = 0,
        settings: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.stage = Stage()
        self.config = make_config()
        self.slots = bind_slots(self.config.listeners, max(workers, slots))
        self.announced = 0
        self.status: int | None = None
        self.fleet = Fleet(
            self.slots,
            workers,
            InForce(self.config, 1),
            incarnation=2 if old else 1,
            old=old or [],
            all_serve=self._all_serve,
            settings=settings,
            start=self.stage.start,
        )

    def _all_serve(self) -> None:
        self.announced += 1

    async def run(self) -> None:
        self.status = await self.fleet.run()

    async def workers(self, count: int) -> list[PlayedWorker]:
        """Return the first ``count`` workers."""
        return [await self.stage.worker(number) for number in range(count)]

    async def ready(self, count: int = 2) -> list[PlayedWorker]:
        """Have ``count`` workers serve, all slots with their own; return them."""
        workers = await self.workers(count)
        for worker in workers:
            await worker.become_ready()
        await settle()
        return workers

    def child(self, worker: PlayedWorker) -> Child:
        """Return the supervisor's side of a worker."""
        (child,) = (c for c in self.fleet.children if c.process.pid == worker.process.pid)
        return child


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            yield rig
            nursery.cancel_scope.cancel()
    finally:
        rig.slots.close()
        ends = [each.control for each in rig.stage.workers]
        for end in (*ends, *(each.control for each in rig.fleet.children)):
            with trio.move_on_after(1, shield=True):
                await end.aclose()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


async def drop_messages(worker: PlayedWorker) -> list[str]:
    """Read what a worker was told so far; return the types."""
    kinds = []
    while True:
        with trio.move_on_after(0.1) as scope:
            kinds.append((await worker.receive())["type"])
        if scope.cancelled_caught:
            return kinds


async def test_each_worker_has_its_slot_and_copies_of_the_others(autojump_clock: Clock) -> None:
    async with running(Rig(3)) as rig:
        starts = [await worker.become_ready() for worker in await rig.workers(3)]
        assert sorted(start["slot"] for start in starts) == [0, 1, 2]
        assert {start["workers"] for start in starts} == {3}
        assert {start["generation"] for start in starts} == {1}
        for start, passed in zip(starts, rig.stage.passed, strict=True):
            own = start["slot"]
            assert start["listeners"] == rig.slots.descriptors(own)
            others = {int(slot): fds["0"] for slot, fds in start["others"].items()}
            assert others == {i: rig.slots.descriptors(i)[0] for i in range(3) if i != own}
            assert {*start["listeners"], *others.values()} <= set(passed)
        await settle()
        assert rig.announced == 1
        assert rig.fleet.is_settled
        assert rig.fleet.is_serving


async def test_a_dead_workers_slot_is_accepted_on_at_once_and_given_back(
    autojump_clock: Clock,
) -> None:
    async with running(Rig()) as rig:
        workers = await rig.ready()
        one, other = workers
        slot = rig.child(other).slot
        await drop_messages(one)
        began = trio.current_time()
        await other.die()
        assert await one.expect("listen") == {"type": "listen", "slot": slot}
        assert trio.current_time() == began
        third = await rig.stage.worker(2)
        assert trio.current_time() - began == 1  # the pause before another one is started
        assert (await third.become_ready())["slot"] == slot
        assert await one.expect("unlisten") == {"type": "unlisten", "slot": slot}
        await settle()
        assert one.process.status is None
        assert rig.announced == 1
        assert rig.fleet.restarts == 1


async def test_whoever_stood_in_may_die_too(autojump_clock: Clock) -> None:
    async with running(Rig(3)) as rig:
        workers = await rig.ready(3)
        for worker in workers:
            await drop_messages(worker)
        by_slot = {rig.child(worker).slot: worker for worker in workers}
        await by_slot[2].die()
        assert (await by_slot[0].expect("listen"))["slot"] == 2
        await by_slot[0].die()
        assert [(await by_slot[1].expect("listen"))["slot"] for _ in range(2)] == [0, 2]


async def test_a_first_worker_that_fails_ends_all(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        one, other = await rig.workers(2)
        await other.become_ready()
        await one.expect("start")
        with capture_logs() as logs:
            await one.die(3)
            while (await other.receive())["type"] != "stop":
                pass
            await other.die(0)
            await settle()
        assert rig.status == 1
        assert logs[0]["event"] == "the worker did not become ready; giving up"


async def test_workers_that_cannot_be_started(autojump_clock: Clock) -> None:
    rig = Rig()
    rig.stage.is_broken = True
    with capture_logs() as logs:
        async with running(rig):
            await settle()
            assert rig.status == 1
    assert "no such program" in logs[0]["reason"]


# -- reload ----------------------------------------------------------------------------------------


async def obey(worker: PlayedWorker, *, prepared: bool = True, reloaded: bool = True) -> None:
    """Do what a reload asks for; leave other messages."""
    while (message := await worker.control.receive()) is not None:
        kind, number = message["type"], message.get("generation")
        if kind in ("prepare", "commit"):
            good = prepared if kind == "prepare" else reloaded
            answer = (
                {"prepare": "prepared", "commit": "reloaded"}[kind] if good else "reload_failed"
            )
            await worker.control.send({"type": answer, "generation": number, "reason": "no file"})
        elif kind == "abandon":
            worker.abandoned = number  # type: ignore[attr-defined]


async def test_all_workers_reload(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        for worker in await rig.ready():
            nursery.start_soon(obey, worker)
        new = make_config(limits={"connections": 7})
        assert await rig.fleet.reload(new) is None
        assert rig.fleet.in_force == InForce(new, 2)
        assert {child.generation for child in rig.fleet.children} == {2}
        nursery.cancel_scope.cancel()


async def test_or_none_does(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.ready()
        nursery.start_soon(obey, one)
        nursery.start_soon(lambda: obey(other, prepared=False))
        assert await rig.fleet.reload(make_config(limits={"connections": 7})) == "no file"
        await settle()
        assert rig.fleet.in_force == InForce(rig.config, 1)
        assert {child.generation for child in rig.fleet.children} == {1}
        assert one.abandoned == other.abandoned == 2  # type: ignore[attr-defined]
        nursery.cancel_scope.cancel()


async def test_one_that_is_silent_keeps_all_from_it(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.ready()
        nursery.start_soon(obey, one)
        reason = await rig.fleet.reload(make_config(limits={"connections": 7}))
        assert reason == f"worker {other.process.pid} did not answer within {RELOAD_ANSWER:g} s"
        assert rig.fleet.in_force.generation == 1
        nursery.cancel_scope.cancel()


async def test_a_late_answer_counts_for_nothing(autojump_clock: Clock) -> None:
    """What a worker says of a configuration that was refused meanwhile is not about the next."""
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.ready()
        await drop_messages(other)
        nursery.start_soon(obey, one)
        assert await rig.fleet.reload(make_config(limits={"connections": 7})) is not None
        refused = (await other.expect("prepare"))["generation"]
        assert (await other.expect("abandon"))["generation"] == refused
        results: list[str | None] = []

        async def reload() -> None:
            results.append(await rig.fleet.reload(make_config(limits={"connections": 8})))

        nursery.start_soon(reload)
        wanted = (await other.expect("prepare"))["generation"]
        assert wanted > refused
        await other.control.send({"type": "prepared", "generation": refused})
        await trio.sleep(1)
        assert results == []
        assert rig.fleet.in_force.generation == 1
        nursery.start_soon(lambda: obey(other))
        await other.control.send({"type": "prepared", "generation": wanted})
        await trio.sleep(1)
        assert results == [None]
        assert rig.fleet.in_force.generation == rig.fleet.generations == wanted
        nursery.cancel_scope.cancel()


async def test_one_that_takes_no_messages_holds_nobody_up(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        _, other = await rig.ready()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.child(other).control.send, {"a": "x" * 10_000_000})
            await trio.sleep(0.1)
            with capture_logs() as logs:
                assert not await rig.child(other).tell("abandon", generation=2)
            assert trio.current_time() - began == TAKE + 0.1
            assert other.process.status == -signal.SIGKILL
            assert logs[0]["event"] == "a worker takes no messages; killing it"
            nursery.cancel_scope.cancel()


async def test_one_that_breaks_its_word_is_replaced_by_one_with_the_new_configuration(
    autojump_clock: Clock,
) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.ready()
        nursery.start_soon(obey, one)
        nursery.start_soon(lambda: obey(other, reloaded=False))
        new = make_config(limits={"connections": 7})
        assert await rig.fleet.reload(new) is None
        assert other.process.status == -signal.SIGKILL
        start = await (await rig.stage.worker(2)).expect("start")
        assert start["generation"] == 2
        assert start["snapshot"]["limits"]["connections"] == 7
        nursery.cancel_scope.cancel()


async def test_one_that_was_starting_meanwhile_catches_up(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.workers(2)
        await one.become_ready()
        nursery.start_soon(obey, one)
        assert (await other.expect("start"))["generation"] == 1
        assert await rig.fleet.reload(make_config(limits={"connections": 7})) is None
        await other.control.send({"type": "ready"})
        assert (await other.expect("prepare"))["generation"] == 2
        await other.control.send({"type": "prepared", "generation": 2})
        await other.expect("commit")
        await other.control.send({"type": "reloaded", "generation": 2})
        await settle()
        assert rig.child(other).generation == 2
        nursery.cancel_scope.cancel()


async def test_one_that_cannot_catch_up_is_replaced(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig, trio.open_nursery() as nursery:
        one, other = await rig.workers(2)
        await one.become_ready()
        nursery.start_soon(obey, one)
        await other.expect("start")
        assert await rig.fleet.reload(make_config(limits={"connections": 7})) is None
        await other.control.send({"type": "ready"})
        nursery.start_soon(lambda: obey(other, prepared=False))
        assert (await (await rig.stage.worker(2)).expect("start"))["generation"] == 2
        nursery.cancel_scope.cancel()


# -- questions -------------------------------------------------------------------------------------


async def test_how_workers_are(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        one, other = await rig.ready()
        await drop_messages(one)
        await drop_messages(other)
        found: dict[Child, Any] = {}

        async def ask() -> None:
            found.update(await rig.fleet.statuses())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            number = (await one.expect("ask"))["id"]
            await one.control.send({"type": "answer", "id": number, "status": {"sessions": 3}})
        assert found == {rig.child(one): {"sessions": 3}, rig.child(other): {}}


@pytest.mark.parametrize("known", [True, False])
async def test_one_workers_question_goes_to_the_others(
    autojump_clock: Clock, *, known: bool
) -> None:
    async with running(Rig(3)) as rig:
        asker, *others = workers = await rig.ready(3)
        for worker in workers:
            await drop_messages(worker)
        await asker.control.send(
            {"type": "ask", "id": 9, "question": "node", "controller": "main", "node": "a"}
        )
        for worker, session in zip(
            others, (None, {"session": "x"} if known else None), strict=True
        ):
            question = await worker.expect("ask")
            assert (question["question"], question["controller"], question["node"]) == (
                "node",
                "main",
                "a",
            )
            answer = {"type": "answer", "id": question["id"], "session": session}
            await worker.control.send(answer)
        answer = await asker.expect("answer")
        assert answer["id"] == 9
        assert answer["session"] == ({"session": "x"} if known else None)
        assert answer.get("worker") == (others[1].process.pid if known else None)
        assert answer["unanswered"] == 0


@pytest.mark.parametrize("says", ["nothing", "an error", "its end"])
async def test_what_another_worker_does_not_say_is_not_known(
    says: str, autojump_clock: Clock
) -> None:
    async with running(Rig(3)) as rig:
        asker, one, other = workers = await rig.ready(3)
        for worker in workers:
            await drop_messages(worker)
        await asker.control.send({"type": "ask", "id": 9, "question": "claim", "claim": {}})
        question = await one.expect("ask")
        await one.control.send({"type": "answer", "id": question["id"], "session": None})
        question = await other.expect("ask")
        if says == "an error":
            said = {"type": "answer", "id": question["id"], "error": "it is not understood"}
            await other.control.send(said)
        elif says == "its end":
            await other.die()
        answer: dict[str, Any] = {}
        while answer.get("type") != "answer":
            answer = await asker.receive()
        assert answer["session"] is None
        assert answer["unanswered"] == (0 if says == "its end" else 1)


async def test_a_question_that_nobody_waits_for_is_withdrawn(autojump_clock: Clock) -> None:
    async with running(Rig(3)) as rig:
        asker, one, other = workers = await rig.ready(3)
        for worker in workers:
            await drop_messages(worker)
        await asker.control.send({"type": "ask", "id": 9, "question": "claim", "claim": {}})
        questions = [await each.expect("ask") for each in (one, other)]
        await one.control.send({"type": "answer", "id": questions[0]["id"], "session": None})
        await settle()
        await asker.control.send({"type": "withdraw", "id": 9})
        assert (await other.expect("withdraw"))["by"] == questions[1]["by"]
        assert await drop_messages(one) == []
        assert await drop_messages(asker) == []


# -- the end ---------------------------------------------------------------------------------------


async def test_all_are_told_to_stop(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        workers = await rig.ready()
        for worker in workers:
            await drop_messages(worker)
        rig.fleet.stop(StopOrder(3.0, 300.0))
        assert not rig.fleet.is_serving
        for worker in workers:
            assert await worker.expect("stop") == {"type": "stop", "spread": 3.0, "timeout": 300.0}
            assert rig.slots.listeners[0].sockets[0].fileno() == -1  # nobody waits for nobody
            await worker.die(0)
        await settle()
        assert rig.status == 0
        assert len(rig.stage.workers) == 2


@pytest.mark.parametrize("limit", [300.0, None])
async def test_a_worker_that_does_not_stop_is_killed(
    autojump_clock: Clock, limit: float | None
) -> None:
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        began = trio.current_time()
        rig.fleet.stop(StopOrder(0.0, limit))
        with trio.move_on_after(100_000):
            await worker.process.wait()
        if limit is None:
            assert worker.process.status is None  # SIGQUIT has no limit
        else:
            assert trio.current_time() - began == 300 + KILL_AFTER
            await settle()
            assert rig.status == 1


async def test_impatience_cuts_short(autojump_clock: Clock) -> None:
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        rig.fleet.stop(StopOrder(10.0, None))
        assert (await worker.expect("stop"))["timeout"] is None
        await trio.sleep(1000)
        rig.fleet.hurry()
        began = trio.current_time()
        assert await worker.expect("stop") == {"type": "stop", "spread": 0.0, "timeout": HURRY}
        await worker.process.wait()
        assert trio.current_time() - began == HURRY + KILL_AFTER


async def test_what_is_ordered_later_counts_and_nothing_after_impatience(
    autojump_clock: Clock,
) -> None:
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        rig.fleet.stop(StopOrder(10.0, None))
        assert (await worker.expect("stop"))["timeout"] is None
        await trio.sleep(1000)
        rig.fleet.stop(StopOrder(10.0, 300.0))
        assert await worker.expect("stop") == {"type": "stop", "spread": 10.0, "timeout": 300.0}
        rig.fleet.hurry()
        rig.fleet.stop(StopOrder(10.0, 300.0))
        assert (await worker.expect("stop"))["timeout"] == HURRY
        began = trio.current_time()
        await worker.process.wait()
        assert trio.current_time() - began == HURRY + KILL_AFTER


async def test_no_other_worker_is_started_while_stopping(autojump_clock: Clock) -> None:
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        with capture_logs():
            await worker.die()
            await trio.sleep(0.5)
        rig.fleet.stop(StopOrder(0.0, 300.0))
        await trio.sleep(100)
        assert len(rig.stage.workers) == 1
        assert rig.status == 0


# -- after an upgrade ------------------------------------------------------------------------------


def old_child(slot: int, state: State = State.SERVING) -> tuple[Child, PlayedWorker]:
    child, worker = played_child(slot)
    child.state = state
    return child, worker


async def test_old_workers_serve_until_all_new_ones_do_and_then_linger(
    autojump_clock: Clock,
) -> None:
    old = [old_child(0), old_child(1)]
    async with running(Rig(old=[child for child, _ in old])) as rig:
        assert not rig.fleet.is_settled
        assert rig.fleet.is_serving
        one, other = await rig.workers(2)
        await one.become_ready()
        await trio.sleep(10)
        assert await drop_messages(one) == []  # the old one of the other slot still accepts there
        assert rig.announced == 0
        with capture_logs():
            await other.die(3)  # even if new ones fail
        third = await rig.stage.worker(2)
        await third.become_ready()
        for child, worker in old:
            assert await worker.expect("linger") == {
                "type": "linger",
                "timeout": 86400.0,
                "then": {"spread": 10.0, "timeout": 300.0},
            }
            assert child.state is State.LINGERING
        assert rig.announced == 1
        assert rig.fleet.is_settled
        await old[0][1].die(0)
        await settle()
        assert len(rig.fleet.children) == 3
        assert rig.status is None
    await old[1][1].control.aclose()


async def test_slots_that_no_worker_has_any_more_are_accepted_on(autojump_clock: Clock) -> None:
    old = [old_child(slot) for slot in range(3)]
    async with running(Rig(1, old=[child for child, _ in old], slots=3)) as rig:
        (worker,) = await rig.workers(1)
        await worker.become_ready()
        assert [(await worker.expect("listen"))["slot"] for _ in range(2)] == [1, 2]
    for _, each in old:
        await each.control.aclose()


@pytest.mark.parametrize("says_ready", [True, False])
async def test_an_old_worker_that_was_starting_may_have_clients_already(
    autojump_clock: Clock, *, says_ready: bool
) -> None:
    """Whether it does is not known before its ``ready`` has been read."""
    child, worker = old_child(0, State.STARTING)
    async with running(Rig(1, old=[child])) as rig:
        if says_ready:
            await worker.control.send({"type": "ready"})
        await settle()
        assert child.state.value == ("serving" if says_ready else "starting")
        assert not rig.fleet.is_settled
        await rig.ready(1)
        await worker.expect("linger")
        assert child.state is State.LINGERING
        assert worker.process.status is None
    await worker.control.aclose()


async def test_an_old_worker_that_lingers_too_long_is_killed(
    autojump_clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child, worker = old_child(0, State.LINGERING)
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    child.linger_until = now
    async with running(Rig(1, old=[child])):
        now += 10 + 300 + KILL_AFTER
        await trio.sleep(OVERDUE_LOOK + 1)
        assert worker.process.status is None
        now += 1
        await trio.sleep(OVERDUE_LOOK + 1)
        assert worker.process.status == -signal.SIGKILL
    await worker.control.aclose()


async def test_old_and_new_end_together(autojump_clock: Clock) -> None:
    child, old = old_child(0, State.LINGERING)
    async with running(Rig(1, old=[child])) as rig:
        (worker,) = await rig.ready(1)
        rig.fleet.stop(StopOrder(0.0, 300.0))
        for each in (worker, old):
            while (await each.receive())["type"] != "stop":
                pass
            await each.die(0)
        await settle()
        assert rig.status == 0


async def test_workers_are_given_away_between_two_messages(autojump_clock: Clock) -> None:
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        async with rig.fleet.frozen() as refusal:
            assert refusal is None
            (words,) = rig.fleet.in_words()
            assert (words["pid"], words["slot"]) == (worker.process.pid, 0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.child(worker).tell, "listen")
                assert await drop_messages(worker) == []
                nursery.cancel_scope.cancel()
            worker.process.end(0)  # in the last moment
            assert rig.fleet.in_words() == ()


async def test_whoever_does_not_leave_after_all_goes_on_as_before(autojump_clock: Clock) -> None:
    async with running(Rig(1)) as rig, trio.open_nursery() as nursery:
        (worker,) = await rig.ready(1)
        for _ in range(2):
            async with rig.fleet.frozen() as refusal:
                assert refusal is None
        nursery.start_soon(obey, worker)
        assert await rig.fleet.reload(make_config(limits={"connections": 7})) is None
        nursery.cancel_scope.cancel()
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        async with rig.fleet.frozen():
            rig.fleet.stop(StopOrder(0.0, 300.0))
        assert (await worker.expect("stop"))["timeout"] == 300


async def test_nobody_leaves_while_a_reload_does_not_end(autojump_clock: Clock) -> None:
    async with running(Rig(1)) as rig, trio.open_nursery() as nursery:
        await rig.ready(1)
        # Two in a row, as a file that is changed twice brings about.
        for number in (7, 8):
            nursery.start_soon(rig.fleet.reload, make_config(limits={"connections": number}))
        await trio.sleep(0.1)
        began = trio.current_time()
        async with rig.fleet.frozen() as refusal:
            assert refusal == "a reload is under way, and a worker does not answer it"
        assert trio.current_time() - began == RELOAD_ENDS
        await trio.sleep(2 * RELOAD_ANSWER)
        async with rig.fleet.frozen() as refusal:
            assert refusal is None
        nursery.cancel_scope.cancel()


async def test_and_not_while_one_is_half_sent(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        one, other = await rig.ready()
        sending = rig.child(other).control
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sending.send, {"a": "x" * 10_000_000})
            await trio.sleep(0.1)
            began = trio.current_time()
            async with rig.fleet.frozen() as refusal:
                assert refusal == f"worker {other.process.pid} does not take its messages"
            assert trio.current_time() - began == FREEZE
            nursery.cancel_scope.cancel()
        assert await rig.child(one).tell("listen", slot=5)  # as before
        assert (await one.control.receive() or {})["type"] in ("listen", "unlisten")


async def test_nothing_is_left_in_the_clock(autojump_clock: Clock) -> None:
    """The lives of workers are told in Unix time: it survives the program."""
    async with running(Rig(1)) as rig:
        (worker,) = await rig.ready(1)
        assert abs(rig.child(worker).started - time.time()) < 60


async def test_a_worker_that_owes_an_answer_is_not_asked_again(autojump_clock: Clock) -> None:
    async with running(Rig()) as rig:
        one, other = await rig.ready()
        await drop_messages(one)
        await drop_messages(other)

        async def answer(count: int) -> None:
            for _ in range(count):
                question = await one.expect("ask")
                await one.control.send({"type": "answer", "id": question["id"], "status": {}})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, 3)
            began = trio.current_time()
            for _ in range(3):
                found = await rig.fleet.ask_all("status")
                assert sorted(map(bool, found.values())) == [False, True]
            assert trio.current_time() - began == pytest.approx(ANSWER)
        late = await other.expect("ask")
        assert await drop_messages(other) == [], "once was enough"
        await other.control.send({"type": "answer", "id": late["id"], "status": {}})
        await settle()
        assert not any(child.is_silent for child in rig.fleet.children)


async def test_every_worker_gets_what_operators_have_set(autojump_clock: Clock) -> None:
    settings: dict[str, object] = {"blocks": [], "log_level": None}
    async with running(Rig(settings=lambda: dict(settings))) as rig:
        one, other = await rig.workers(2)
        start = await one.become_ready()
        assert start["settings"] == settings
        await other.become_ready()
        await settle()
        await drop_messages(one)
        await drop_messages(other)
        settings["log_level"] = "debug"
        late: list[int] = []

        async def spread() -> None:
            late.extend(await rig.fleet.spread_settings())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(spread)
            question = await one.expect("ask")
            assert (question["question"], question["settings"]) == ("settings", settings)
            await one.control.send({"type": "answer", "id": question["id"], "taken": True})
        assert late == [other.process.pid]
        question = await other.expect("ask")
        await other.control.send({"type": "answer", "id": question["id"], "taken": True})
        await trio.sleep(2 * AGAIN)  # by itself, since it has said something
        question = await other.expect("ask")
        assert question["settings"] == settings
        assert await drop_messages(one) == []


async def test_workers_do_not_know_the_admin_listeners_token(autojump_clock: Clock) -> None:
    rig = Rig(1)
    admin = rig.config.admin.model_copy(update={"token": Secret("a-token-nobody-may-see")})
    rig.fleet._in_force = InForce(rig.config.model_copy(update={"admin": admin}), 1)
    async with running(rig):
        (worker,) = await rig.workers(1)
        start = await worker.become_ready()
        assert "nobody-may-see" not in str(start)
        assert read_snapshot(start["snapshot"]).listeners == rig.config.listeners
