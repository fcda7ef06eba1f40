"""A whole gateway, and what its operators see and do by the admin listener. Real time."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.server.admin.openapi import PATH
from tests.certificates import client_context
from tests.server.admin.asking import Said, read_answer, request
from tests.server.processes import AT_ONCE, HOST, STARTED, Gateway, running_gateway

pytestmark = pytest.mark.e2e

NODES = ["linux-1", "linux-2", "<b>evil</b>", "a/b #?%"]
TWO = f"workers: 2\n{AT_ONCE}"
JSON = "Content-Type: application/json"


class Operator:
    """Who asks a gateway through the Unix socket in its state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state" / "admin.sock"
        self._document: dict[str, Any] = {}

    async def ask(self, method: str, target: str, *fields: str, **body: Any) -> Said:
        data = json.dumps(body).encode() if method == "POST" else b""
        sent = request(method, target, body=data, fields=[*fields, *([JSON] if data else [])])
        async with await trio.open_unix_socket(str(self._path)) as stream:
            await stream.send_all(sent)
            found = b""
            with trio.fail_after(20):
                while piece := await stream.receive_some(65536):
                    found += piece
        return read_answer(found)

    async def get(self, target: str, status: int = 200) -> Any:
        """Return an answer that fits its schema."""
        return await self._checked("GET", target, status)

    async def post(self, target: str, status: int = 200, **body: Any) -> Any:
        return await self._checked("POST", target, status, **body)

    async def _checked(self, method: str, target: str, status: int, **body: Any) -> Any:
        said = await self.ask(method, f"/api/v1{target}", **body)
        assert said.status == status, said.body
        await self.check(method, f"/api/v1{target}", said)
        return said.json

    async def check(self, method: str, target: str, said: Said) -> None:
        """Compare an answer with what the gateway's own document says of it."""
        if not self._document:
            self._document = (await self.ask("GET", PATH)).json
        path = target.partition("?")[0]
        if path not in self._document["paths"]:
            path = "/".join(_generic(path.split("/"), self._document["paths"]))
        answers = self._document["paths"][path][method.lower()]["responses"]
        (content,) = answers[str(said.status)]["content"].items()
        assert said.fields["content-type"] == content[0]
        schema = {**content[1]["schema"], "components": self._document["components"]}
        jsonschema.validate(said.json, schema, jsonschema.Draft202012Validator)


def _generic(found: list[str], paths: dict[str, Any]) -> list[str]:
    for each in paths:
        wanted = each.split("/")
        if len(wanted) == len(found) and all(
            a == b or a.startswith("{") for a, b in zip(wanted, found, strict=True)
        ):
            return list(wanted)
    raise AssertionError(found)


@asynccontextmanager
async def with_agents(
    folder: Path, count: int = len(NODES), *, more: str = TWO
) -> AsyncIterator[tuple[Gateway, StandInController, Operator]]:
    controller = StandInController(dict.fromkeys(NODES, INBOUND), on_channel=echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(folder, controller.url, more=more) as gateway:
            if "workers: 2" in more:
                await gateway.running.wait_for(STARTED, count=2)
            async with trio.open_nursery() as agents:
                for node in NODES[:count]:
                    assert await comes(controller, node, gateway.tls, agents) == 101
                yield gateway, controller, Operator(folder)
                agents.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def comes(controller: StandInController, node: str, port: int, nursery: trio.Nursery) -> int:
    """Have an agent come once; return what it was answered, 101 where it stays."""
    agent = SimulatedAgent(
        f"https://{HOST}:{port}/", node, controller.secret(node), tls=client_context()
    )
    found = await agent.connect(nursery)
    if isinstance(found, Answer):
        return found.status
    assert isinstance(found, AgentChannel), found
    return 101


async def test_every_question_is_answered_as_documented(tmp_path: Path) -> None:
    async with with_agents(tmp_path) as (_, _, operator):
        found = await operator.get("/sessions")
        assert (found["total"], found["partial"]) == (4, False)
        assert sorted(each["node"] for each in found["items"]) == sorted(NODES)
        one = await operator.get(f"/sessions/{found['items'][0]['session']}")
        assert one["node"] == found["items"][0]["node"]
        page = await operator.get("/sessions?sort=-node&limit=2&offset=1&transport=jnlp4")
        assert [each["node"] for each in page["items"]] == sorted(NODES)[::-1][1:3]
        assert (await operator.get("/sessions?node=linux-*&address=127.0.0.0/8"))["total"] == 2
        assert (await operator.get("/sessions?state=suspect"))["total"] == 0
        past = await operator.get("/nodes/a%2Fb%20%23%3F%25/timeline")
        assert [each["event"] for each in past["items"]] == ["opened"]
        (main,) = (await operator.get("/controllers"))["items"]
        assert main["sessions"] == 4
        assert main["workers"][0]["addresses"][0]["up"] is True
        assert (await operator.get("/fingerprints"))["items"] == []
        assert (await operator.get("/ends"))["items"] == []
        (certificate,) = (await operator.get("/certificates"))["items"]
        assert certificate["names"] == [HOST]
        config = (await operator.get("/config"))["configuration"]
        assert config["controllers"]["main"]["agents"]["takeover"] == "when-dead"
        assert (await operator.get("/reloads"))["items"] == []
        assert len((await operator.get("/workers"))["items"]) == 2
        assert (await operator.get("/drain"))["draining"] is False
        assert (await operator.get("/version"))["name"] == "remoting-gateway"
        for target in ("/healthz", "/readyz"):
            said = await operator.ask("GET", target)
            assert said.status == 200
            await operator.check("GET", target, said)
    mode = (tmp_path / "state").stat().st_mode
    assert stat.S_IMODE(mode) & 0o077 == 0


async def test_what_is_wrong_is_answered_as_documented(tmp_path: Path) -> None:
    async with with_agents(tmp_path, 0, more=AT_ONCE) as (_, _, operator):
        await operator.get("/sessions/none", 404)
        await operator.get("/sessions?sort=x", 400)
        await operator.get("/sessions?address=x", 400)
        await operator.get(f"/sessions?node={'*' * 9}", 400)
        await operator.post("/kick", 404, node="nobody")
        await operator.post("/kick", 400)
        await operator.post("/kick", 400, node="x", close_code=1005)
        await operator.post("/kick", 400, node="x", reason="\x1b[31m")
        await operator.post("/blocks", 404, node="x", controller="none")
        await operator.post("/blocks", 400, node="x", duration_s=-1)
        await operator.post("/blocks/remove", 404, node="x")
        await operator.post("/drain", 400)
        await operator.post("/log-level", 400, level="loud")


async def test_kick_and_takeover(tmp_path: Path) -> None:
    async with with_agents(tmp_path) as (gateway, _, operator):
        answer = await operator.post("/kick", node="<b>evil</b>", reason="maintenance")
        assert [each["node"] for each in answer["ended"]] == ["<b>evil</b>"]
        ended = await gateway.running.wait_for("session ended")
        assert ended["reason"] == "ended by an operator: maintenance"
        assert (ended["close_code"], ended["by"]) == (1008, "gateway")
        assert (await gateway.running.wait_for("kick"))["channel"] == "audit"
        await operator.post("/takeover", node="linux-1")
        await gateway.running.wait_for("session ended", count=2)
        past = (await operator.get("/nodes/linux-1/timeline"))["items"]
        assert [each["event"] for each in past] == ["opened", "takeover", "ended"]
        ends = (await operator.get("/ends"))["items"]
        assert [each["node"] for each in ends] == ["linux-1", "<b>evil</b>"]
        assert ends[1]["reason"] == "ended by an operator: maintenance"
        assert (await operator.get("/sessions"))["total"] == 2


async def answered(controller: StandInController, node: str, port: int) -> int:
    """Have an agent come and leave; return what it was answered."""
    async with trio.open_nursery() as nursery:
        status = await comes(controller, node, port, nursery)
        nursery.cancel_scope.cancel()
    return status


async def test_a_block_outlives_reloads_workers_and_upgrades(tmp_path: Path) -> None:
    async with with_agents(tmp_path, 2) as (gateway, controller, operator):
        answer = await operator.post("/blocks", node="linux-1", reason="stolen")
        assert (answer["kept"], len(answer["ended"])) == (True, 1)
        assert await answered(controller, "linux-1", gateway.tls) == 403
        await operator.post("/reload")
        os.kill(gateway.worker, signal.SIGKILL)
        await gateway.running.wait_for(STARTED, count=3)
        for _ in range(4):  # whichever worker it comes to
            assert await answered(controller, "linux-1", gateway.tls) == 403
        gateway.signal(signal.SIGUSR2)
        await gateway.running.wait_for("upgraded")
        (block,) = (await operator.get("/blocks"))["items"]
        assert (block["node"], block["reason"], block["until"]) == ("linux-1", "stolen", None)
        assert await answered(controller, "linux-1", gateway.tls) == 403
        past = (await operator.get("/nodes/linux-1/timeline"))["items"]
        assert "blocked by an operator: stolen" in past[-1]["reason"]
        await operator.post("/blocks/remove", node="linux-1")
        assert await answered(controller, "linux-1", gateway.tls) == 101


async def test_a_worker_that_stands_still_hangs_nobody(tmp_path: Path) -> None:
    async with with_agents(tmp_path) as (gateway, _, operator):
        stopped = gateway.worker
        os.kill(stopped, signal.SIGSTOP)
        try:
            with trio.fail_after(10):  # each once, not each time
                for _ in range(30):
                    found = await operator.get("/sessions")
                    assert found["partial"]
                    assert found["missing_workers"] == [stopped]
                    assert (await operator.get("/controllers"))["partial"]
                    assert (await operator.ask("GET", "/readyz")).status == 200
            block = await operator.post("/blocks", node="later", end_session=False)
            assert block["missing_workers"] == [stopped]
        finally:
            os.kill(stopped, signal.SIGCONT)
        with trio.fail_after(10):
            while (found := await operator.get("/sessions"))["partial"]:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert found["total"] == 4, "it was not killed for it"


async def test_a_token_that_changes_and_a_listener_that_outlives_an_upgrade(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("first-token-of-all")
    token.chmod(0o600)
    more = f'{AT_ONCE}admin: {{listen: "{HOST}:0", token_file: token}}\n'
    async with with_agents(tmp_path, 0, more=more) as (gateway, _, _):
        serving = await gateway.running.wait_for("admin is serving")
        port = int(serving["listeners"][0].rpartition(":")[2])

        async def status(bearer: str, target: str = "/api/v1/version") -> int:
            data = request(target=target, fields=[f"Authorization: Bearer {bearer}"])
            async with await trio.open_tcp_stream(HOST, port) as stream:
                await stream.send_all(data)
                return read_answer(await stream.receive_some(65536)).status

        assert await status("first-token-of-all") == 200
        assert await status("another-token-of-all") == 401
        token.write_text("another-token-of-all")
        await gateway.running.wait_for("configuration reloaded")
        assert await status("another-token-of-all") == 200
        assert await status("first-token-of-all") == 401
        gateway.signal(signal.SIGUSR2)
        await gateway.running.wait_for("upgraded")
        assert await status("another-token-of-all") == 200
        assert await status("", "/readyz") == 200
        assert "another-token" not in str(gateway.running.lines)


async def test_the_log_level_and_the_way_back(tmp_path: Path) -> None:
    async with with_agents(tmp_path, 0, more=AT_ONCE) as (gateway, controller, operator):
        found = await operator.post("/log-level", level="error", duration_s=3)
        assert (found["level"], found["until"] is None) == ("error", False)
        before = len(gateway.running.lines)
        assert await answered(controller, "nobody", gateway.tls) in (400, 403)
        assert not gateway.running.all("request refused")
        await gateway.running.wait_for("log level is as before")
        assert (await operator.get("/log-level"))["level"] == "info"
        with trio.fail_after(15):
            while not gateway.running.all("request refused"):
                await answered(controller, "nobody", gateway.tls)
                await trio.sleep(0.2)
        assert len(gateway.running.lines) > before


async def test_a_reload_that_is_refused_and_the_drain(tmp_path: Path) -> None:
    async with with_agents(tmp_path, 1, more=AT_ONCE) as (_, _, operator):
        path = tmp_path / "gateway.yaml"
        good = path.read_text()
        path.write_text(good + "nonsense: 1\n")
        problem = await operator.post("/reload", 409)
        assert "nonsense" in problem["detail"]
        said = await operator.ask("GET", "/readyz")
        assert (said.status, said.json["warnings"]) == (200, ["the last reload was refused"])
        assert (await operator.get("/reloads"))["items"][0]["ok"] is False
        found = await operator.post("/drain", 202, confirm=True)
        assert (found["draining"], found["sessions"]) == (True, 1)
