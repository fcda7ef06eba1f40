"""The gateway as whole processes, from the ready line to the last log line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from gateway.config.models import GatewayConfig
from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.server.ending import STOP_TIMEOUT
from tests.certificates import client_context
from tests.peers.raw_client import RawClient
from tests.process_watch import ProcessWatch
from tests.server.processes import HOST, STARTED, Gateway, running_gateway, started
from tests.server.workers import make_config

pytestmark = pytest.mark.e2e

NODE = "linux-1"
GET = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def gateway_and_controller(folder: Path) -> AsyncIterator[tuple[Gateway, StandInController]]:
    controller = StandInController({NODE: INBOUND}, on_channel=echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(folder, controller.url) as gateway:
            yield gateway, controller
        nursery.cancel_scope.cancel()


async def connect(
    gateway: Gateway, controller: StandInController, nursery: trio.Nursery
) -> AgentChannel:
    """Return an agent's channel on which a command went to the controller and back."""
    agent = SimulatedAgent(
        f"https://{HOST}:{gateway.tls}/", NODE, controller.secret(NODE), tls=client_context()
    )
    channel = await agent.connect(nursery)
    assert isinstance(channel, AgentChannel)
    await channel.send_command(b"there and back")
    assert await channel.receive_command() == b"there and back"
    return channel


async def is_served(port: int) -> bool:
    """Ask for something; say whether the gateway answered."""
    async with await RawClient.connect(port) as client:
        return (await client.ask(GET)).status == 404


async def test_a_session_through_processes_and_sigterm_in_the_middle_of_it(tmp_path: Path) -> None:
    async with gateway_and_controller(tmp_path) as (gateway, controller):
        assert gateway.ready["level"] == "info"
        async with trio.open_nursery() as nursery:
            channel = await connect(gateway, controller, nursery)
            gateway.signal(signal.SIGTERM)
            await channel.ended.wait()
            assert channel.close_code == 1012
        assert await gateway.running.wait() == 0
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(HOST, gateway.tls)
    begin, end = gateway.running.all("session started") + gateway.running.all("session ended")
    assert begin["trace_id"] == end["trace_id"]
    assert len(begin["trace_id"]) == 32
    events = [line["event"] for line in gateway.running.lines if line["level"] == "info"]
    # Two processes write into one log; each its own in order.
    assert [event for event in events if event in {STARTED, "stopping"}] == [STARTED, "stopping"]
    supervisors = {STARTED, "stopping", "admin is serving"}
    assert [event for event in events if event not in supervisors] == [
        "transport chosen",
        "session started",
        "worker is stopping",
        "session ended",
    ]


async def test_sessions_leave_no_descriptors_and_idle_clients_do_not_hold_up_stopping(
    tmp_path: Path,
) -> None:
    async with gateway_and_controller(tmp_path) as (gateway, controller), AsyncExitStack() as stack:

        async def come_and_go(times: int) -> None:
            for _ in range(times):
                async with trio.open_nursery() as nursery:
                    channel = await connect(gateway, controller, nursery)
                    await channel.close()
                    await controller.wait_for_no_channel(NODE)

        watches = [ProcessWatch(pid) for pid in (gateway.worker, gateway.running.process.pid)]
        before = [watch.descriptors for watch in watches]
        await come_and_go(50)
        await gateway.running.wait_for("session ended", count=50)
        for watch, count in zip(watches, before, strict=True):
            await watch.wait_for_descriptors(count)

        idle = []
        for port in [gateway.plain, gateway.tls] * 250:
            idle.append(await trio.open_tcp_stream(HOST, port))
            stack.push_async_callback(idle[-1].aclose)
        assert await is_served(gateway.plain)  # so all those before have been accepted too
        with trio.fail_after(STOP_TIMEOUT / 2):
            gateway.signal(signal.SIGINT)
            assert await gateway.running.wait() == 0
        for stream in idle:
            assert await stream.receive_some() == b""
    assert gateway.running.all("connections were cut") == []


async def test_a_killed_worker_is_replaced_and_nobody_is_refused_meanwhile(tmp_path: Path) -> None:
    async with gateway_and_controller(tmp_path) as (gateway, controller):
        first = gateway.worker
        async with trio.open_nursery() as nursery:
            channel = await connect(gateway, controller, nursery)
            os.kill(first, signal.SIGKILL)
            await channel.ended.wait()
            await controller.wait_for_no_channel(NODE)
        died = await gateway.running.wait_for("the worker died; starting another")
        assert died["worker_ended"] == "killed by SIGKILL"
        assert await is_served(gateway.plain)  # asked before there is a worker
        await gateway.running.wait_for(STARTED, count=2)
        assert gateway.worker != first
        async with trio.open_nursery() as nursery:
            await (await connect(gateway, controller, nursery)).close()
        gateway.signal(signal.SIGTERM)
        assert await gateway.running.wait() == 0


async def test_a_worker_ends_with_its_supervisor(tmp_path: Path) -> None:
    async with gateway_and_controller(tmp_path) as (gateway, controller):
        async with trio.open_nursery() as nursery:
            channel = await connect(gateway, controller, nursery)
            gateway.running.process.kill()
            await channel.ended.wait()
            assert channel.close_code == 1012
        with trio.fail_after(STOP_TIMEOUT / 2):
            assert await gateway.running.wait() == -signal.SIGKILL
    assert len(gateway.running.all("the supervisor is gone; stopping")) == 1


async def test_a_signal_about_files_that_there_are_not_and_ctrl_c(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, "http://127.0.0.1:9/", process_group=0) as gateway:
        gateway.signal(signal.SIGUSR1)
        await gateway.running.wait_for("logs reopened")
        assert gateway.running.process.returncode is None
        # A terminal sends it to the whole group, and people press it twice.
        with trio.fail_after(STOP_TIMEOUT / 2):
            os.killpg(gateway.running.process.pid, signal.SIGINT)
            os.killpg(gateway.running.process.pid, signal.SIGINT)
            assert await gateway.running.wait() == 0
    assert len(gateway.running.all("stopping")) == 1
    assert {line["level"] for line in gateway.running.lines} <= {"info", "warning"}


async def test_stopping_before_the_worker_is_ready(tmp_path: Path) -> None:
    code = _program(make_config(tmp_path), before="os.kill(os.getpid(), signal.SIGTERM)")
    async with started([sys.executable, "-c", code], tmp_path) as running:
        assert await running.wait() == 0
    assert len(running.all("stopping")) == 1
    assert {line["level"] for line in running.lines} <= {"info", "warning"}


async def test_a_first_worker_that_cannot_start_ends_the_program(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    (tmp_path / f"{HOST}.crt").unlink()
    async with started([sys.executable, "-c", _program(config)], tmp_path) as running:
        assert await running.wait() == 1
    worker, gave_up = (line for line in running.lines if line["level"] == "error")
    assert worker["event"] == "worker cannot start"
    assert f"{HOST}.crt: cannot be used" in worker["reason"]
    assert gave_up["event"] == "the worker did not become ready; giving up"


def _program(config: GatewayConfig, *, before: str = "") -> str:
    """Return a program that runs ``config`` without looking at its files; ``before`` comes first.

    ``before`` runs when signals are heeded already and no worker has been started.
    """
    return f"""
import os, signal, sys
from pathlib import Path
from gateway.config.load import Loaded
from gateway.config.models import GatewayConfig
from gateway.observability.logs import configure
from gateway.server import fleet, program
from gateway.server.reloader import FixedSource
configure()
keep = fleet.keep_running
async def keep_running(*arguments, **more):
    {before or "pass"}
    return await keep(*arguments, **more)
fleet.keep_running = keep_running
class Source(FixedSource):
    def load(self, named):
        return Loaded(self.config, (), Path())
config = GatewayConfig.model_validate_json({config.model_dump_json()!r})
sys.exit(program.run_supervisor(Source(config)))
"""
