"""Whole gateways that are upgraded, reloaded, drained and hurt while everybody uses them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.server import control_socket
from gateway.server.restarts import FIRST_PAUSE
from tests.peers.raw_client import RawClient
from tests.process_watch import MIB, ProcessWatch
from tests.server.hammer import GET, Hammer, hammering
from tests.server.processes import HOST, STARTED, Gateway, Line, running_gateway, started

pytestmark = pytest.mark.e2e

# How often the program is replaced one time after the other; the figure is 100.
UPGRADES = int(os.environ.get("GATEWAY_UPGRADES", "3"))
NODES = [f"node-{i}" for i in range(300)]
TWO_WORKERS = (
    "workers: 2\nshutdown: {drain_spread: 0s}\nagents: {handshake_rate: 2000}\n"
    'limits: {controller_handshakes: 600}\nlog: {access: {to: "off"}}\n'
)


class Site:
    """A gateway with two workers, a controller, and the agents between them."""

    def __init__(self, gateway: Gateway, controller: StandInController, folder: Path) -> None:
        self.gateway = gateway
        self.controller = controller
        self.config = folder / "gateway.yaml"
        self.channels: dict[str, AgentChannel] = {}

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run ``remoting-gateway``."""
        command = [sys.executable, "-m", "gateway", *arguments, "-c", str(self.config)]
        with trio.fail_after(60):
            return await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False, cwd=Path.cwd()
            )

    async def upgrade(self) -> None:
        """Have the program replaced, by the signal: a command is a Python more to start."""
        count = len(self.gateway.running.all("upgraded"))
        self.gateway.signal(signal.SIGUSR2)
        await self.gateway.running.wait_for("upgraded", count=count + 1, within=60)

    async def ask(self, wish: str) -> dict[str, Any]:
        """Ask through the control socket, as commands do."""
        return await control_socket.ask(self.config.parent / "state", {"do": wish}, within=30)

    async def status(self) -> dict[str, Any]:
        """Return what the gateway says of itself."""
        found: dict[str, Any] = (await self.ask("status"))["status"]
        return found

    async def connect(self, nodes: list[str], nursery: trio.Nursery) -> None:
        """Connect the agents of ``nodes``, twenty at a time."""
        places = trio.CapacityLimiter(20)
        url = f"http://{HOST}:{self.gateway.plain}/"

        async def connect(node: str) -> None:
            async with places:
                agent = SimulatedAgent(url, node, self.controller.secret(node))
                channel = await agent.connect(nursery)
            assert isinstance(channel, AgentChannel), channel
            self.channels[node] = channel

        async with trio.open_nursery() as connecting:
            for node in nodes:
                connecting.start_soon(connect, node)

    async def living(self) -> int:
        """Return over how many channels a command goes to the controller and back."""
        found = 0

        async def try_out(channel: AgentChannel) -> None:
            nonlocal found
            if not channel.ended.is_set():
                await channel.send_command(b"there and back")
                assert await channel.receive_command() == b"there and back"
                found += 1

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for channel in self.channels.values():
                    nursery.start_soon(try_out, channel)
        return found

    def ended(self) -> list[str]:
        """Return whose channels have ended."""
        return [node for node, channel in self.channels.items() if channel.ended.is_set()]

    async def stop(self) -> list[Line]:
        """Stop it in order; return the lines that no test may bring about."""
        self.gateway.signal(signal.SIGTERM)
        assert await self.gateway.running.wait() == 0
        return [x for x in self.gateway.running.lines if x.get("level") not in ("info", "warning")]


@asynccontextmanager
async def site(folder: Path, *, more: str = TWO_WORKERS, workers: int = 2) -> AsyncIterator[Site]:
    controller = StandInController(dict.fromkeys(NODES, INBOUND), on_channel=echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(folder, controller.url, more=more) as gateway:
            await gateway.running.wait_for(STARTED, count=workers)
            yield Site(gateway, controller, folder)
        nursery.cancel_scope.cancel()


# -- upgrade ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_upgrades_under_load_with_300_sessions(tmp_path: Path) -> None:
    async with site(tmp_path) as here, trio.open_nursery() as nursery:
        await here.connect(NODES, nursery)
        before = await here.status()
        assert before["sessions"] == 300
        assert all(each["sessions"] for each in before["workers"])
        async with hammering(here.gateway.plain, rate=200) as hammer:
            await trio.sleep(1)
            done = await here.command("upgrade")
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout.startswith(b"upgraded to ")
            assert b": 300 sessions stay with 2 old workers until they end" in done.stdout
            await here.upgrade()
            await trio.sleep(1)
        # The second program's workers had nothing to keep.
        after = await wait_for_workers(here, 4)
        assert hammer.failed == []
        assert len(hammer.served) > 400
        assert await here.living() == 300

        assert (after["process"], after["incarnation"]) == (before["process"], 3)
        assert after["sessions"] == 300
        states = [
            (each["incarnation"], each["state"], each["sessions"]) for each in after["workers"]
        ]
        kept = [(1, "lingering", each["sessions"]) for each in before["workers"]]
        assert sorted(states) == sorted([*kept, (3, "serving", 0), (3, "serving", 0)])
        assert await here.stop() == []
        for channel in here.channels.values():
            await channel.ended.wait()
        assert {channel.close_code for channel in here.channels.values()} == {1012}
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.timeout(90 + 30 * UPGRADES)
async def test_many_upgrades_leave_nothing_behind(tmp_path: Path) -> None:
    async with site(tmp_path) as here, trio.open_nursery() as nursery:
        watch = ProcessWatch(here.gateway.running.process.pid)
        await here.connect(NODES[:20], nursery)
        kept = sum(each["sessions"] > 0 for each in (await here.status())["workers"])
        await here.upgrade()
        await wait_for_workers(here, 2 + kept)
        descriptors, memory = watch.descriptors, watch.memory
        for _ in range(UPGRADES):
            await here.upgrade()
        found = await wait_for_workers(here, 2 + kept)
        assert found["incarnation"] == UPGRADES + 2
        assert watch.descriptors <= descriptors + 1  # the connection that has just been answered
        assert watch.memory - memory < 4 * MIB
        # Each program said its last before it was replaced.
        replaced = here.gateway.running.all("replacing the program")
        assert [line["incarnation"] for line in replaced] == list(range(2, UPGRADES + 3))
        assert await here.living() == 20
        assert await here.stop() == []
        nursery.cancel_scope.cancel()
        for line in here.gateway.running.all(STARTED):
            assert not os.access(f"/proc/{line['worker']}", os.F_OK)


async def wait_for_workers(here: Site, count: int) -> dict[str, Any]:
    """Wait until only so many workers are left; return the status then."""
    with trio.fail_after(30):
        while True:
            found = await here.status()
            if len(found["workers"]) == count:
                return found
            await trio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_an_upgrade_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here, trio.open_nursery() as nursery:
        await here.connect(NODES[:4], nursery)
        before = await here.status()
        good = here.config.read_text()
        here.config.write_text(good + "nonsense: 1\n")
        done = await here.command("upgrade")
        assert done.returncode == 1
        assert b"gateway.yaml:12: nonsense: unknown key" in done.stderr
        here.gateway.signal(signal.SIGUSR2)
        refused = await here.gateway.running.wait_for("not upgraded; this program goes on", count=2)
        assert refused["trigger"] == "SIGUSR2"
        assert "nonsense: unknown key" in refused["reason"]
        after = await here.status()
        assert after["incarnation"] == 1
        assert [x["worker"] for x in after["workers"]] == [x["worker"] for x in before["workers"]]
        assert await here.living() == 4

        # With another address and fewer workers, which a reload could not do.
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        listener = f'listeners:\n  - address: "{HOST}:{port}"\n'
        here.config.write_text(
            good.replace("workers: 2", "workers: 1").replace("listeners:\n", listener)
        )
        reload = await here.command("reload")
        assert reload.returncode == 1
        assert b"listeners: 3 instead of 2" in reload.stderr
        assert b"workers: 1 instead of 2" in reload.stderr
        here.gateway.signal(signal.SIGUSR2)
        await here.gateway.running.wait_for("upgraded", within=60)
        async with (
            hammering(port, rate=50) as added,
            hammering(here.gateway.plain, rate=50) as both,
        ):
            await trio.sleep(0.5)
        assert added.failed == both.failed == []  # the second slot has no worker any more
        assert await here.living() == 4
        await here.stop()
        nursery.cancel_scope.cancel()


# -- workers ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_killed_worker_under_load(tmp_path: Path) -> None:
    async with site(tmp_path) as here, trio.open_nursery() as nursery:
        await here.connect(NODES[:40], nursery)
        before = await here.status()
        victim, survivor = before["workers"]
        assert victim["sessions"] + survivor["sessions"] == 40
        async with hammering(here.gateway.plain, rate=100) as hammer:
            await trio.sleep(0.5)
            killed, in_flight = trio.current_time(), hammer.waiting
            os.kill(victim["worker"], signal.SIGKILL)
            with trio.fail_after(5):
                while len(ended := here.ended()) < victim["sessions"]:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert await here.living() == survivor["sessions"]
            await here.gateway.running.wait_for(STARTED, count=3)
            replaced = trio.current_time()
            await trio.sleep(0.5)
        # What the worker was answering as it died, and nothing that came later.
        assert all(began < killed + 0.1 for began, _ in hammer.failed), hammer.failed
        assert len(hammer.failed) <= in_flight + 10
        # Nobody waited for its successor, which is not even started within the first second.
        assert replaced > killed + FIRST_PAUSE
        assert hammer.served_by(since=killed, until=killed + FIRST_PAUSE / 2) < replaced

        assert here.ended() == ended
        after = await here.status()
        assert (after["restarts"], after["sessions"]) == (1, survivor["sessions"])
        assert survivor["worker"] in [each["worker"] for each in after["workers"]]
        died = here.gateway.running.all("the worker died; starting another")
        assert [line["worker_ended"] for line in died] == ["killed by SIGKILL"]
        # Each session of the survivor ends with a line; the victim's are counted by its death.
        await here.stop()
        assert len(here.gateway.running.all("session started")) == 40
        assert len(here.gateway.running.all("session ended")) == survivor["sessions"]
        nursery.cancel_scope.cancel()


# -- reload ----------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_reloads_under_load(tmp_path: Path) -> None:
    async with site(tmp_path) as here, trio.open_nursery() as nursery:
        await here.connect(NODES[:10], nursery)
        good = here.config.read_text().replace('log: {access: {to: "off"}}\n', "")
        async with hammering(here.gateway.plain, rate=100) as hammer:
            for i in range(8):
                here.config.write_text(good.replace("handshakes: 600", f"handshakes: {601 + i}"))
                done = await here.command("reload")
                assert done.returncode == 0, done.stderr
            here.config.write_text(good + "log: {format: nonsense}\n")
            done = await here.command("reload")
            assert done.returncode == 1
            assert b"gateway.yaml:11: log.format: found" in done.stderr
        assert hammer.failed == []
        assert await here.living() == 10
        found = await here.status()
        assert found["last_reload"]["ok"] is False
        assert "log.format: found" in found["last_reload"]["reason"]
        assert {each["generation"] for each in found["workers"]} == {found["generation"]}
        await here.stop()
        nursery.cancel_scope.cancel()


async def test_a_changed_file_and_a_burst_of_signals(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: a link through a folder that is replaced."""
    volume = tmp_path / "volume"
    async with site(tmp_path, more="shutdown: {drain_spread: 0s}\n", workers=1) as here:
        for _ in range(20):
            here.gateway.signal(signal.SIGHUP)
        first = await here.gateway.running.wait_for("configuration reloaded")
        assert first["trigger"] == "SIGHUP"
        text = here.config.read_text()
        volume.mkdir()
        for name, more in (("..1", ""), ("..2", "log: {access: {format: combined}}\n")):
            (volume / name).mkdir()
            (volume / name / "gateway.yaml").write_text(text + more)
        (volume / "..data").symlink_to("..1")
        here.config.unlink()
        here.config.symlink_to(volume / "..data" / "gateway.yaml")
        seen = len(here.gateway.running.all("configuration reloaded"))
        second = await here.gateway.running.wait_for("configuration reloaded", count=seen + 1)
        assert second["trigger"] == "files changed"
        (volume / "..tmp").symlink_to("..2")
        (volume / "..tmp").rename(volume / "..data")
        third = await here.gateway.running.wait_for("configuration reloaded", count=seen + 2)
        assert third["trigger"] == "files changed"
        assert seen < 5
        assert await here.stop() == []


# -- drain -----------------------------------------------------------------------------------------


async def test_not_ready_then_a_wait_then_a_second_signal(tmp_path: Path) -> None:
    more = "shutdown: {pre_stop: 1h, drain_spread: 10s, drain_timeout: 1h}\n"
    async with site(tmp_path, more=more, workers=1) as here, trio.open_nursery() as nursery:
        await here.connect(NODES[:2], nursery)
        assert (await here.status())["ready"]
        done = await here.command("drain")
        assert done.returncode == 0
        assert done.stdout.startswith(b"draining: 2 sessions, ")
        done = await here.command("status")
        assert done.returncode == 1
        assert done.stdout.startswith(b"draining, not ready: ")
        refused = await here.command("upgrade")
        assert (refused.returncode, refused.stderr) == (1, b"the gateway is stopping\n")
        # Those who have not noticed yet are served.
        async with await RawClient.connect(here.gateway.plain) as client:
            assert (await client.ask(GET)).status == 404
        assert await here.living() == 2
        # The command is no signal: where it is a preStop hook, TERM follows as a matter of course.
        await here.command("drain")
        await trio.sleep(1)
        here.gateway.signal(signal.SIGTERM)
        await trio.sleep(1)
        assert await here.living() == 2
        assert here.gateway.running.all("asked to stop again; cutting short") == []
        here.gateway.signal(signal.SIGTERM)
        with trio.fail_after(15):
            assert await here.gateway.running.wait() == 0
        assert len(here.gateway.running.all("asked to stop again; cutting short")) == 1
        nursery.cancel_scope.cancel()


async def test_peers_that_do_not_move_are_cut_in_time(tmp_path: Path) -> None:
    more = "workers: 2\nshutdown: {drain_spread: 0s, drain_timeout: 1s}\n"
    async with site(tmp_path, more=more) as here, trio.open_nursery() as nursery:
        await here.connect(NODES[:4], nursery)
        stuck = []
        for port in [here.gateway.plain, here.gateway.tls] * 4:
            stream = await trio.open_tcp_stream(HOST, port)
            if port == here.gateway.plain:
                await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
            stuck.append(stream)
        # Still there: the drain waits for those who have asked for something.
        await trio.sleep(0.2)
        done = await here.command("drain", "--wait")
        assert done.returncode == 0
        with trio.fail_after(15):
            assert await here.gateway.running.wait() == 0
        for stream in stuck:
            await stream.aclose()
        nursery.cancel_scope.cancel()


# -- systemd ---------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_as_systemd_runs_it(tmp_path: Path) -> None:
    """Socket activation and Type=notify: systemd's socket is shared by all workers and outlives
    the gateway, so that nobody is refused while it is away.
    """
    passed = socket.create_server((HOST, 0))
    port = passed.getsockname()[1]
    path = tmp_path / "gateway.yaml"
    program = (
        f"import os, sys\nos.dup2({passed.fileno()}, 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'run', '-c', {str(path)!r}])\n"
    )
    with passed, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
        plain.bind(str(tmp_path / "notify"))
        plain.setblocking(False)
        manager = trio.socket.from_stdlib_socket(plain)
        async with (
            a_controller() as url,
            started(
                configured(path, port, url, program),
                tmp_path,
                pass_fds=(passed.fileno(),),
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            ) as running,
        ):
            await running.wait_for(STARTED, count=2)

            async def told() -> str:
                with trio.fail_after(60):
                    first, *more = (await manager.recv(1000)).decode().split("\n")
                if first == "RELOADING=1":
                    # Type=notify-reload takes nothing older than its signal for an answer to it.
                    (since,) = more
                    name, _, usec = since.partition("=")
                    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                    assert name == "MONOTONIC_USEC"
                    assert signalled <= int(usec) <= now
                return first

            signalled = 0
            assert await told() == "READY=1"
            async with hammering(port, rate=50) as hammer:
                await trio.sleep(0.3)
                signalled = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                running.process.send_signal(signal.SIGHUP)
                assert [await told(), await told()] == ["RELOADING=1", "READY=1"]
                signalled = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                running.process.send_signal(signal.SIGUSR2)
                assert [await told(), await told()] == ["RELOADING=1", "READY=1"]
                await trio.sleep(0.3)
            check_served(hammer)
            running.process.send_signal(signal.SIGTERM)
            assert await told() == "STOPPING=1"
            assert await running.wait() == 0
        assert [line for line in running.lines if line["level"] == "error"] == []
        with socket.create_connection((HOST, port)):
            passed.accept()[0].close()


@asynccontextmanager
async def a_controller() -> AsyncIterator[str]:
    controller = StandInController({})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        yield controller.url
        nursery.cancel_scope.cancel()


def configured(path: Path, port: int, url: str, program: str) -> list[str]:
    """Write the configuration of a gateway; return the command that runs it by ``program``."""
    path.write_text(
        f'state_dir: state\nlisteners: [{{address: "{HOST}:{port}"}}]\nworkers: 2\n'
        f'controllers: {{main: {{url: "{url}"}}}}\nshutdown: {{drain_spread: 0s}}\n'
    )
    return [sys.executable, "-W", "error", "-c", program]


def check_served(hammer: Hammer) -> None:
    assert hammer.failed == []
    assert len(hammer.served) > 10


async def test_a_program_that_cannot_be_replaced_after_all_goes_on(tmp_path: Path) -> None:
    """What was tried a moment ago is gone: the same program takes over from itself."""
    path = tmp_path / "gateway.yaml"
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from gateway.observability.logs import configure\n"
        "from gateway.server import program\n"
        "from gateway.server.reloader import FileSource\n"
        "from gateway.server.upgrade import replace_program\n"
        "def replace(source, heritage):\n"
        "    sys.executable, there = '/nowhere/python', sys.executable\n"
        "    try:\n        return replace_program(source, heritage)\n"
        "    finally:\n        sys.executable = there\n"
        "program.replace_program = replace\n"
        "configure()\n"
        f"sys.exit(program.run_supervisor(FileSource(Path({str(path)!r}))))\n"
    )
    async with (
        a_controller() as url,
        started(configured(path, 0, url, program), tmp_path) as running,
    ):
        port = int((await running.wait_for(STARTED, count=2))["listeners"][0].rpartition(":")[2])
        async with hammering(port, rate=50) as hammer:
            running.process.send_signal(signal.SIGUSR2)
            line = await running.wait_for(
                "the program cannot be replaced; going on with this one", within=60
            )
            assert line["reason"] == "/nowhere/python: No such file or directory"
            await running.wait_for("upgraded", within=60)
        check_served(hammer)
        running.process.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
    assert len(running.all(STARTED)) == 4
    assert [line for line in running.lines if "Warning" in line["event"]] == []
