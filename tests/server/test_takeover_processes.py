"""Takeovers across whole processes: two workers, and a gateway that is killed. Real time."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from tests.certificates import client_context
from tests.peers.middlebox import Fault, Lane, Middlebox
from tests.server.processes import AT_ONCE, HOST, STARTED, Gateway, running_gateway

pytestmark = pytest.mark.e2e

NODES = [f"linux-{number}" for number in range(16)]


@asynccontextmanager
async def standing_in() -> AsyncIterator[tuple[StandInController, trio.Nursery]]:
    controller = StandInController(dict.fromkeys(NODES, INBOUND), on_channel=echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        yield controller, nursery
        nursery.cancel_scope.cancel()


def agent(controller: StandInController, node: str, port: int) -> SimulatedAgent:
    url = f"https://{HOST}:{port}/"
    return SimulatedAgent(url, node, controller.secret(node), tls=client_context())


async def sessions(folder: Path, *arguments: str) -> dict[str, Any]:
    """Return what ``remoting-gateway sessions --json`` prints."""
    command = [sys.executable, "-m", "gateway", "sessions", "--json", "--state-dir", "state"]
    done = await trio.run_process([*command, *arguments], cwd=folder, capture_stdout=True)
    return dict(json.loads(done.stdout))


async def test_the_old_session_is_on_the_other_worker(tmp_path: Path) -> None:
    """Sixteen ghosts: that each newcomer comes to its ghost's worker happens once in 65,536."""
    found: dict[str, object] = {}
    async with (
        standing_in() as (controller, nursery),
        running_gateway(tmp_path, controller.url, more=f"workers: 2\n{AT_ONCE}") as gateway,
    ):
        await gateway.running.wait_for(STARTED, count=2)
        box = Middlebox((HOST, gateway.tls))
        await nursery.start(box.run)
        old = [await agent(controller, node, box.port).connect(nursery) for node in NODES]
        assert all(isinstance(each, AgentChannel) for each in old), old
        before = {each["node"]: each["worker"] for each in (await sessions(tmp_path))["sessions"]}
        assert set(before) == set(NODES)

        # While they live, nobody gets their nodes, whichever worker is asked.
        for node in NODES[:3]:
            answer = await agent(controller, node, gateway.tls).connect(nursery)
            assert isinstance(answer, Answer)
            said = answer.header("X-Gateway-Error") or ""
            assert f"{node} is already connected to this controller" in said
            assert "is connected from 127.0.0.1 since 20" in said
            assert "It is alive." in said

        for crossing in box.crossings:
            crossing.strike(Fault.BLACK_HOLE)

        async def come(node: str) -> None:
            found[node] = await agent(controller, node, gateway.tls).connect(nursery)

        began = trio.current_time()
        async with trio.open_nursery() as newcomers:
            for node in NODES:
                newcomers.start_soon(come, node)
        assert trio.current_time() - began < 20, "8 s, where the machine is not busy"
        assert all(isinstance(each, AgentChannel) for each in found.values()), found
        after = {each["node"]: each["worker"] for each in (await sessions(tmp_path))["sessions"]}
        assert set(after) == set(NODES)
        assert any(after[node] != before[node] for node in NODES)

        told = (await sessions(tmp_path, NODES[0]))["events"]
        assert [each["event"] for each in told] in (
            ["opened", "refused", "takeover", "ended", "opened"],
            ["opened", "refused", "ended", "takeover", "opened"],
        )
        ended = next(each for each in told if each["event"] == "ended")
        assert ended["reason"] == "taken over by 127.0.0.1"
        assert ended["config_generation"] == 1


@pytest.mark.parametrize("whole", [False, True])
async def test_a_killed_gateway_still_knows_its_cookies(whole: object, tmp_path: Path) -> None:
    """A worker, or all of it. The controller hears of nothing: the line to it is cut before."""
    node = NODES[0]
    async with standing_in() as (controller, nursery):
        box = Middlebox(controller.agent_address)
        await nursery.start(box.run)
        agents = f'{{address: "{HOST}:{box.port}"}}'
        async with running_gateway(tmp_path, controller.url, agents=agents) as gateway:
            first = await agent(controller, node, gateway.tls).connect(nursery)
            assert isinstance(first, AgentChannel)
            ghost = await controller.wait_for_channel(node)
            await trio.sleep(0.5)  # what is remembered is written within a twentieth of that
            box.crossings[-1].strike(Fault.BLACK_HOLE)
            if whole:
                gateway.signal(signal.SIGKILL)
            os.kill(gateway.worker, signal.SIGKILL)
            await first.ended.wait()
            assert ghost.end is None
            if not whole:
                await gateway.running.wait_for(STARTED, count=2)
                await check_it_gets_in(controller, node, gateway, nursery)
        if whole:
            async with running_gateway(tmp_path, controller.url, agents=agents) as gateway:
                await check_it_gets_in(controller, node, gateway, nursery)
        assert ghost.end is not None


async def check_it_gets_in(
    controller: StandInController, node: str, gateway: Gateway, nursery: trio.Nursery
) -> None:
    found = await agent(controller, node, gateway.tls).connect(nursery)
    assert isinstance(found, AgentChannel), found
    taken = await gateway.running.wait_for("node taken over")
    assert taken["with_cookie"]
    assert not gateway.running.all("request refused")


async def test_a_worker_that_stands_still(tmp_path: Path) -> None:
    """Between a ping and its pong, for longer than a challenge: nobody's silence."""
    node = NODES[0]
    found: list[object] = []
    async with (
        standing_in() as (controller, nursery),
        running_gateway(tmp_path, controller.url) as gateway,
    ):
        box = Middlebox((HOST, gateway.tls))
        await nursery.start(box.run)
        old = await agent(controller, node, box.port).connect(nursery)
        assert isinstance(old, AgentChannel)
        box.crossings[0].change(Lane(delay=1.0))

        async def come() -> None:
            found.append(await agent(controller, node, gateway.tls).connect(nursery))

        async with trio.open_nursery() as newcomer:
            newcomer.start_soon(come)
            await trio.sleep(1.2)  # asked, and not answered: the way there and back takes 2 s
            os.kill(gateway.worker, signal.SIGSTOP)
            try:
                await trio.sleep(7)
            finally:
                os.kill(gateway.worker, signal.SIGCONT)
        (answer,) = found
        assert isinstance(answer, Answer), answer
        assert answer.status == 400
        assert old.end is None
        (still,) = (await sessions(tmp_path))["sessions"]
        assert not still["suspect"]
        assert still["round_trip_ms"] > 1900
        assert not gateway.running.all("session ended")


async def test_newcomers_that_leave_end_nothing(tmp_path: Path) -> None:
    """Whichever worker has the ghost: nobody is there any more when its 5 s are over."""
    async with (
        standing_in() as (controller, nursery),
        running_gateway(tmp_path, controller.url, more=f"workers: 2\n{AT_ONCE}") as gateway,
    ):
        await gateway.running.wait_for(STARTED, count=2)
        box = Middlebox((HOST, gateway.tls))
        await nursery.start(box.run)
        for node in NODES[:8]:
            assert isinstance(
                await agent(controller, node, box.port).connect(nursery), AgentChannel
            )
        for crossing in box.crossings:
            crossing.strike(Fault.BLACK_HOLE)

        async def come_and_leave(node: str) -> None:
            with trio.move_on_after(3):
                await agent(controller, node, gateway.tls).connect(nursery)
                raise AssertionError("nobody gets in before 5 s are over")

        async with trio.open_nursery() as newcomers:
            for node in NODES[:8]:
                newcomers.start_soon(come_and_leave, node)
        await trio.sleep(5)
        assert not gateway.running.all("session ended")
        assert len((await sessions(tmp_path))["sessions"]) == 8


async def test_the_same_processes_come_again(tmp_path: Path) -> None:
    """With their cookies, over any worker: the controller itself makes room for them."""
    async with (
        standing_in() as (controller, nursery),
        running_gateway(tmp_path, controller.url, more=f"workers: 2\n{AT_ONCE}") as gateway,
    ):
        await gateway.running.wait_for(STARTED, count=2)
        box = Middlebox((HOST, gateway.tls))
        await nursery.start(box.run)
        agents = [agent(controller, node, box.port) for node in NODES[:6]]
        for each in agents:
            assert isinstance(await each.connect(nursery), AgentChannel)
        for crossing in list(box.crossings):
            crossing.strike(Fault.BLACK_HOLE)
        for each in agents:
            assert isinstance(await each.connect(nursery), AgentChannel)
        await gateway.running.wait_for("session ended", count=len(agents))
        reasons = {line["reason"] for line in gateway.running.all("session ended")}
        assert reasons == {"the controller closed the connection"}
        assert not gateway.running.all("request refused")


async def test_always_but_not_for_ever(tmp_path: Path) -> None:
    """Who takes a node from a living agent gets it three times, whichever workers it was."""
    node = NODES[0]
    async with (
        standing_in() as (controller, nursery),
        running_gateway(
            tmp_path,
            controller.url,
            agents="{takeover: always}",
            more=f"workers: 2\n{AT_ONCE}",
        ) as gateway,
    ):
        await gateway.running.wait_for(STARTED, count=2)
        channels = []
        for _ in range(4):
            channel = await agent(controller, node, gateway.tls).connect(nursery)
            assert isinstance(channel, AgentChannel), channel
            channels.append(channel)
        for loser in channels[:3]:
            await loser.ended.wait()
            assert loser.close_code == 1008
        for _ in range(3):
            answer = await agent(controller, node, gateway.tls).connect(nursery)
            assert isinstance(answer, Answer), answer
            assert answer.status == 400
            assert "Two agents use this name." in (answer.header("X-Gateway-Error") or "")
        assert channels[3].end is None


async def test_many_newcomers(tmp_path: Path) -> None:
    """All with the right secret, on two workers: one living agent keeps its node."""
    node = NODES[0]
    refused = 0
    async with (
        standing_in() as (controller, nursery),
        running_gateway(tmp_path, controller.url, more=f"workers: 2\n{AT_ONCE}") as gateway,
    ):
        await gateway.running.wait_for(STARTED, count=2)
        old = await agent(controller, node, gateway.tls).connect(nursery)
        assert isinstance(old, AgentChannel)

        async def come(times: int) -> None:
            nonlocal refused
            for _ in range(times):
                found = await agent(controller, node, gateway.tls).connect(nursery)
                assert not isinstance(found, AgentChannel)
                refused += isinstance(found, Answer) and found.status == 400

        async with trio.open_nursery() as newcomers:
            for _ in range(20):
                newcomers.start_soon(come, 5)
        assert refused == 100
        assert old.end is None
        assert not gateway.running.all("session ended")
        assert not gateway.running.all("internal error")
