"""What the supervisor does with signals, commands and upgrades that come together. The fleet is
played, time is mocked.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import GatewayConfig
from gateway.server import control_socket, stopping, supervisor
from gateway.server.control import Message
from gateway.server.fleet import InForce, StopOrder
from gateway.server.handover import Handover
from gateway.server.reloader import FixedSource
from gateway.server.slots import Slots, bind_slots
from gateway.server.supervisor import SETTLE_WITHIN, Supervisor
from tests.server.at_once import AtOnce

HOST = "127.0.0.1"
Clock = trio.testing.MockClock
CUT = "cut short"


class PlayedFleet:
    """Notes what it is told."""

    def __init__(
        self,
        slots: Slots,
        workers: int,
        in_force: InForce,
        *,
        incarnation: int,
        old: object,
        all_serve: Callable[[], None],
        ended: object,
        restarts: int,
        settings: Callable[[], Message],
    ) -> None:
        self.settings = settings
        self.in_force = in_force
        self.generations = in_force.generation
        self.incarnation = incarnation
        self.restarts = restarts
        self.all_serve = all_serve
        self.children: tuple[object, ...] = ()
        self.addresses: list[str] = []
        self.is_settled = False
        self.is_serving = True
        self.is_stopping = False
        self.orders: list[StopOrder | str] = []
        self.ended = trio.Event()
        self.may_freeze = trio.Event()
        self.may_freeze.set()
        self.frozen_now = False

    async def ask_all(self, question: str) -> dict[object, object]:
        return {}

    async def run(self) -> int:
        await self.ended.wait()
        return 0

    def stop(self, ending: StopOrder) -> None:
        self.is_stopping = True
        self.orders.append(ending)

    def hurry(self) -> None:
        self.orders.append(CUT)

    async def reload(self, config: GatewayConfig) -> str | None:
        self.generations += 1
        self.in_force = InForce(config, self.generations)
        return None

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[str | None]:
        await self.may_freeze.wait()
        self.frozen_now = True
        try:
            yield None
        finally:
            self.frozen_now = False

    async def statuses(self) -> dict[Any, Any]:
        return {}

    def in_words(self) -> tuple[()]:
        return ()

    def let_go(self) -> None:
        """Let go of nothing."""


class Rig:
    """A supervisor; ``told`` is what the service manager has heard."""

    def __init__(self, folder: Path, shutdown: dict[str, str]) -> None:
        self.config = GatewayConfig.model_validate(
            {
                "state_dir": str(folder),
                "listeners": [{"address": f"{HOST}:0"}],
                "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
                "shutdown": shutdown,
            }
        )
        self.told: list[str] = []
        self.refusal: str | None = None
        self.may_probe = trio.Event()
        self.may_probe.set()
        self.supervisor: Supervisor
        self.done = trio.Event()
        self.status: int | None = None

    @property
    def fleet(self) -> PlayedFleet:
        return cast("PlayedFleet", self.supervisor._fleet)

    async def run(self) -> None:
        self.status = await self.supervisor.run()
        self.done.set()

    async def refusal_of_successor(self, *_: object) -> str | None:
        await self.may_probe.wait()
        if self.refusal == "bug":
            raise LookupError("a secret")
        return self.refusal

    async def signal(self, number: signal.Signals) -> None:
        os.kill(os.getpid(), number)
        await settle()

    async def ask(self, wish: str) -> dict[str, Any]:
        with trio.fail_after(1000):
            return await control_socket.ask(self.config.state_dir, {"do": wish}, within=500)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked(0.02)


@asynccontextmanager
async def running(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    shutdown: dict[str, str] | None = None,
    upgraded: bool = False,
) -> AsyncIterator[Rig]:
    rig = Rig(folder, {"drain_timeout": "60s", "drain_spread": "1s", **(shutdown or {})})
    monkeypatch.setattr(supervisor, "Fleet", PlayedFleet)
    for module in (supervisor, stopping):
        monkeypatch.setattr(module, "notify", lambda *lines: rig.told.append(lines[0]))
    monkeypatch.setattr(supervisor, "refusal_of_successor", rig.refusal_of_successor)
    slots = bind_slots(rig.config.listeners, 1)
    control: socket.socket = control_socket.bind(folder)
    heritage = Handover(
        incarnation=1,
        generation=4,
        started=0.0,
        lock=0,
        control_socket=0,
        listeners=(),
        children=(),
        config={},
        restarts=3,
    )
    rig.supervisor = Supervisor(
        FixedSource(rig.config),
        rig.config,
        set(),
        slots,
        0,
        control,
        heritage=heritage if upgraded else None,
        aside=AtOnce(),
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            await settle()
            yield rig
            nursery.cancel_scope.cancel()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        slots.close()
        control.close()


async def test_commands_are_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, monkeypatch) as rig:
            rig.refusal = "no such program"
            await rig.ask("reload")
            await rig.ask("upgrade")
            await rig.ask("drain")
    said = {
        line["event"]: line.get("details")
        for line in logs
        if line.get("operator") == "control socket"
    }
    assert said == {"reload": {"ok": True}, "upgrade": {"ok": False}, "drain": None}


LIMITED = StopOrder(1.0, 60.0)
PATIENT = StopOrder(1.0, None)
TERM, INT, QUIT = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT


@pytest.mark.parametrize(
    ("steps", "orders"),
    [
        ([TERM, INT], [LIMITED, CUT]),
        ([QUIT, TERM], [PATIENT, LIMITED]),
        (["drain", TERM], [LIMITED]),  # a preStop hook, and the kubelet
    ],
)
async def test_words_to_stop(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: Clock,
    steps: list[signal.Signals | str],
    orders: list[StopOrder | str],
) -> None:
    with capture_logs():
        async with running(tmp_path, monkeypatch) as rig:
            for step in steps:
                if isinstance(step, str):
                    assert (await rig.ask(step))["within_s"] == 60
                else:
                    await rig.signal(step)
                await trio.sleep(2)
            assert rig.fleet.orders == orders
            assert rig.told == ["STOPPING=1"]
            rig.fleet.ended.set()
            await rig.done.wait()
            assert rig.status == 0


# -- upgrades --------------------------------------------------------------------------------------


async def test_an_upgrade_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    async with running(tmp_path, monkeypatch) as rig:
        await rig.signal(signal.SIGUSR2)
        await rig.done.wait()
        assert rig.status is None
        assert rig.told == ["RELOADING=1"]
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert {signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP} <= held_back


async def test_a_stop_while_an_upgrade_waits_for_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, monkeypatch) as rig:
            rig.fleet.may_freeze = trio.Event()
            await rig.signal(signal.SIGUSR2)
            await rig.signal(TERM)
            rig.fleet.may_freeze.set()
            await trio.sleep(1)
            assert not rig.done.is_set()
            assert not rig.fleet.frozen_now
            assert rig.fleet.orders == [LIMITED]
    (refused,) = (x for x in logs if x["event"] == "not upgraded; this program goes on")
    assert refused["reason"] == "the gateway is stopping"


async def test_after_one_that_could_not_leave_another_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    class Stuck(PlayedFleet):
        refusals = 1

        @asynccontextmanager
        async def frozen(self) -> AsyncIterator[str | None]:
            self.refusals -= 1
            yield None if self.refusals < 0 else "worker 7 does not take its messages"

    with capture_logs() as logs:
        async with running(tmp_path, monkeypatch) as rig:
            rig.fleet.__class__ = Stuck
            assert (await rig.ask("upgrade"))["ok"]
            await trio.sleep(1)
            assert (await rig.ask("reload"))["ok"]
            assert (await rig.ask("upgrade"))["ok"]
            await rig.done.wait()
            assert rig.status is None
    (refused,) = (x for x in logs if x["event"] == "not upgraded; this program goes on")
    assert refused["reason"] == "worker 7 does not take its messages"


@pytest.mark.parametrize("refused", [True, False])
async def test_a_reload_that_an_upgrade_was_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock, *, refused: bool
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, monkeypatch) as rig:
            rig.may_probe = trio.Event()
            rig.refusal = "no such program" if refused else None
            await rig.signal(signal.SIGUSR2)
            answer = await rig.ask("reload")
            assert answer["reason"] == "an upgrade is under way, which loads it, too"
            rig.may_probe.set()
            await trio.sleep(5)
            assert rig.done.is_set() is not refused
            assert rig.fleet.in_force.generation == 1 + refused
    done = [line["trigger"] for line in logs if line["event"] == "configuration reloaded"]
    assert done == ["not upgraded"] * refused


async def test_a_bug_is_no_end_and_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    with capture_logs():
        async with running(tmp_path, monkeypatch) as rig:
            rig.refusal = "bug"
            await rig.signal(signal.SIGUSR2)
            assert (await rig.ask("upgrade"))["reason"] == "internal error (LookupError)"
            rig.refusal = None
            await rig.signal(signal.SIGUSR2)
            await rig.done.wait()
            assert rig.status is None


async def test_what_is_known_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    async with running(tmp_path, monkeypatch, upgraded=True) as rig:
        assert rig.fleet.restarts == 3
        assert rig.fleet.in_force.generation == 5
        rig.fleet.restarts, rig.fleet.generations = 4, 9
        left = rig.supervisor._left()
        assert (left.restarts, left.generation, left.incarnation) == (4, 9, 2)


@pytest.mark.parametrize("settles", [True, False])
async def test_a_service_manager_does_not_wait_for_new_workers_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock, *, settles: bool
) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, monkeypatch, upgraded=True) as rig:
            if settles:
                rig.fleet.is_settled = True
                rig.fleet.all_serve()
                assert rig.told == ["READY=1"]
            await trio.sleep(SETTLE_WITHIN + 1)
            assert rig.told == ["READY=1"]
            await rig.signal(signal.SIGHUP)
            await trio.sleep(1)
            assert rig.told == ["READY=1", "RELOADING=1", "READY=1"]
    failed = [x for x in logs if x["event"] == "the new workers do not serve; the old ones go on"]
    assert len(failed) == (not settles)
