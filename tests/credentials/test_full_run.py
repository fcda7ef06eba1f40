"""Two workers on one store, operated by commands: what they do, and what nobody sees.

Everything that any of the programs writes, on either stream and on disk, and every command line, is
searched for every secret that was used.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.agents.bridge import COOKIE, SECRET, Agent, agent_request, ask, connected
from tests.credentials.jenkins_files import MASTER_KEY, NODE_KEY, SECRETS, write_home
from tests.gateway_process import ROOT, GatewayProcess, running_program
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import ScriptedController, Stage, stopping_at

pytestmark = pytest.mark.e2e

REAL: Final = SECRETS["my-agent"]
STORED: Final = "570ed0" * 10 + "abcd"
WRONG: Final = "bad0" * 16


class Operator:
    """Runs commands with the gateway's configuration; keeps what they print."""

    def __init__(self, folder: Path) -> None:
        self._config = str(folder / "gateway" / "gateway.yaml")
        self.printed = b""
        self.lines: list[str] = []  # command lines

    async def run(self, *arguments: str, stdin: str = "") -> bytes:
        command = [sys.executable, "-m", "gateway", *arguments]
        self.lines.append(" ".join(command))
        done = await trio.run_process(
            command,
            stdin=stdin.encode(),
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            check=False,
        )
        self.printed += done.stdout
        assert done.returncode == 0, done.stdout
        return bytes(done.stdout)

    async def nodes(self, *arguments: str, stdin: str = "") -> None:
        await self.run("nodes", *arguments, "-c", self._config, stdin=stdin)

    async def sessions(self) -> list[int]:
        """Return how many sessions each worker has."""
        status = json.loads(await self.run("status", "--json", "-c", self._config))
        return [worker["sessions"] for worker in status["workers"]]


def config(folder: Path, url: str) -> dict[str, Any]:
    return {
        "state_dir": str(folder / "state"),
        "workers": 2,
        "listeners": [{"address": "127.0.0.1:0"}],
        "controllers": {
            "main": {
                "url": url,
                "credentials": {
                    "modes": ["nodes", "jenkins_secrets"],
                    "jenkins_secrets": str(folder / "main.secrets"),
                },
            }
        },
    }


def request(secret: str, node: str = "my-agent") -> bytes:
    return agent_request({"Node-Name": node, "Secret-Key": secret, "Connection-Cookie": COOKIE})


async def test_two_workers_and_an_operator(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    home = write_home(tmp_path / "home")
    (tmp_path / "gateway").mkdir()
    await operator.run(
        "jenkins-secrets",
        *("extract", "--jenkins-home", str(home), "-o", str(tmp_path / "main.secrets")),
    )
    controller = ScriptedController(stopping_at(Stage.CHANNEL, scripted.stay_silent))
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        made = config(tmp_path, controller.url)
        async with running_program(tmp_path / "gateway", made) as gateway:
            used, ended = await _work(operator, tmp_path, gateway)
            line = _command_line(gateway)
            entries = gateway.log.lines
        nursery.cancel_scope.cancel()

    told = [visit.headers["Secret-Key"] for visit in controller.agents]
    assert set(told) == {REAL, STORED}
    events = [line["event"] for line in entries if line.get("channel") == "audit"]
    for event, count in (
        ("credential issued", 2),
        ("credential rotated", 1),
        ("credential revoked", 1),
        ("credential first used", 3),
        ("session no longer allowed", ended),
    ):
        assert events.count(event) == count, (event, events)
    seen = operator.printed + "\n".join([*operator.lines, line]).encode() + _on_disk(tmp_path)
    assert b"my-agent" in seen
    for secret in (*used, REAL, STORED, WRONG, SECRET, COOKIE, MASTER_KEY, *_forms(NODE_KEY)):
        assert secret.encode() not in seen
    for key in (tmp_path / "state" / "store.key").read_text().splitlines()[1:]:
        for form in _forms(base64.b64decode(key.split()[1])):
            assert form.encode() not in seen


async def _work(operator: Operator, folder: Path, gateway: GatewayProcess) -> tuple[list[str], int]:
    """Issue, use, misuse, rotate and revoke; return the secrets that were issued, and how many
    sessions the revocation ended.
    """
    files = [folder / f"secret-{i}" for i in range(3)]
    await operator.nodes("issue", "main", "my-agent", "--secret-file", str(files[0]))
    await operator.nodes(
        *("issue", "main", "other", "--upstream-secret-file", "-"),
        *("--secret-file", str(files[1])),
        stdin=STORED,
    )
    first, other = (files[i].read_text().strip() for i in range(2))
    port = gateway.ports[0]
    for secret, node in ((WRONG, "my-agent"), (first, "other"), (SECRET, "nobody")):
        assert (await ask(port, request(secret, node))).status == 403
    async with (
        AsyncExitStack() as stack,
        connected(port, request(other, "other")) as (_, neighbour),
    ):
        agents = [await _enter(stack, port, first)]
        while 0 in await operator.sessions():  # both workers are to have some
            agents.append(await _enter(stack, port, first))
        await operator.nodes("rotate", "main", "my-agent", "--secret-file", str(files[2]))
        second = files[2].read_text().strip()
        agents.append(await _enter(stack, port, second))
        await operator.nodes("list")
        await operator.nodes("show", "main", "my-agent", "--json")
        await operator.nodes("export")
        await operator.nodes("rekey")
        async with connected(port, request(REAL)) as (_, agent):  # Jenkins' own, by the other mode
            await agent.close()
        await gateway.log.wait_for("session ended", count=1)  # not by the revocation
        await operator.nodes("revoke", "main", "my-agent")
        with trio.fail_after(5):
            for agent in agents:
                assert await agent.receive(1) == b""
                assert agent.close_code == 1008
        for _ in range(4):  # whichever worker is asked
            for secret in (first, second, REAL):
                assert (await ask(port, request(secret))).status == 403
        assert neighbour.close_code is None
        await neighbour.close()
    await gateway.log.wait_for("session ended", count=len(agents) + 2)
    return [first, other, second], len(agents)


async def _enter(stack: AsyncExitStack, port: int, secret: str) -> Agent:
    _, agent = await stack.enter_async_context(connected(port, request(secret)))
    return agent


def _command_line(gateway: GatewayProcess) -> str:
    folder = Path("/proc") / str(gateway.watch.pid)
    return (folder / "cmdline").read_text() + (folder / "environ").read_text()


def _on_disk(folder: Path) -> bytes:
    """Return logs and databases; not the files that are there to hold secrets."""
    found = b""
    for path in [*folder.glob("*/*.log"), *(folder / "state").glob("nodes.sqlite3*")]:
        found += path.read_bytes()
    return found


def _forms(key: bytes) -> list[str]:
    return [key.hex(), base64.b64encode(key).decode(), repr(key)[2:-1]]
