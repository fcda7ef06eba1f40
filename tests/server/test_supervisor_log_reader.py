"""Going on when a log has no reader any more, and stopping in order: `| tee` and Ctrl-C, a closed
terminal.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.controller import INBOUND, StandInController
from tests.certificates import client_context, write
from tests.server.processes import HOST, PATIENCE, STARTED, running_gateway

NODE = "linux-1"


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_a_session_ends_in_order(tmp_path: Path, kind: str) -> None:
    reader, writer = os.pipe() if kind == "pipe" else pty.openpty()
    with trio.socket.socket() as probe:
        await probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    write(tmp_path, HOST)
    controller = StandInController({NODE: INBOUND})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        path = tmp_path / "gateway.yaml"
        path.write_text(
            f"state_dir: state\n"
            f"listeners:\n"
            f'  - address: "{HOST}:{port}"\n'
            f"    tls: {{certificates: [{{certificate: {HOST}.crt, key: {HOST}.key}}]}}\n"
            f'controllers: {{main: {{url: "{controller.url}"}}}}\n'
        )
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "gateway", "run", "-c", str(path)],
            stdin=subprocess.DEVNULL,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        try:
            log = b""
            while STARTED.encode() not in log:
                await trio.lowlevel.wait_readable(reader)
                log += os.read(reader, 65536)
            url = f"https://{HOST}:{port}/"
            agent = SimulatedAgent(url, NODE, controller.secret(NODE), tls=client_context())
            channel = await agent.connect(nursery)
            assert isinstance(channel, AgentChannel)
            os.close(reader)
            if kind == "terminal":
                process.send_signal(1)  # what the kernel sends to a terminal's own session
            else:
                process.terminate()
            with trio.fail_after(PATIENCE):
                await channel.ended.wait()
                assert channel.close_code == 1012
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
        nursery.cancel_scope.cancel()


@pytest.mark.e2e
async def test_agents_connect_when_nobody_reads_the_access_log(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    controller = StandInController({NODE: INBOUND})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        try:
            async with running_gateway(tmp_path, controller.url, stdout=writer) as gateway:
                os.close(reader)
                url = f"https://{HOST}:{gateway.tls}/"
                for _ in range(2):  # the first line that fails, and those that are discarded
                    agent = SimulatedAgent(url, NODE, controller.secret(NODE), tls=client_context())
                    channel = await agent.connect(nursery)
                    assert isinstance(channel, AgentChannel)
                    await channel.close()
                agent = SimulatedAgent(url, NODE, controller.secret(NODE), tls=client_context())
                channel = await agent.connect(nursery)
                assert isinstance(channel, AgentChannel)
                await gateway.running.wait_for("a log has no reader any more")
                gateway.running.process.terminate()
                with trio.fail_after(PATIENCE):
                    await channel.ended.wait()
                assert channel.close_code == 1012
                assert await gateway.running.wait() == 0
                assert not gateway.running.all("internal error")
        finally:
            os.close(writer)
        nursery.cancel_scope.cancel()
