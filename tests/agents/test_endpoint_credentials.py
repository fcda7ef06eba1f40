"""The endpoint with modes that judge here: what agents and controllers get to see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.store_keys import StoreKeys
from tests.agents.bridge import (
    COOKIE,
    SECRET,
    agent_request,
    ask,
    check_refusal,
    connected,
    everything_logged,
    make_config,
    running_gateway,
)
from tests.credentials.jenkins_files import NODE_KEY, SECRETS, write_home
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import ScriptedController, Stage, saying, stopping_at, string

REAL = SECRETS["my-agent"]


def request(node: str, secret: str, cookie: str | None = COOKIE) -> bytes:
    return agent_request({"Node-Name": node, "Secret-Key": secret, "Connection-Cookie": cookie})


class Site:
    """A gateway's state folder, and an operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqliteNodeStore(folder)
        self.issuing = Issuing(self.store, folder / "store.key", operator="bob")
        write_home(folder / "home")

    def config(self, url: str, *modes: str, **more: Any) -> Any:
        made = make_config(self.folder, url, **more)
        document = made.model_dump(mode="json")
        document["controllers"]["main"]["credentials"] = {
            "modes": modes,
            "jenkins_secrets": {"jenkins_home": str(self.folder / "home")},
        }
        return type(made).model_validate(document)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_the_real_secret_goes_to_the_controller(site: Site, log: LogCapture) -> None:
    """Issued secrets outside, Jenkins' own inside; neither is ever logged."""
    controller = ScriptedController(stopping_at(Stage.CHANNEL, scripted.stay_silent))
    issued = site.issuing.issue("main", "my-agent").secret
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = site.config(controller.url, "nodes")
        async with running_gateway(config) as port:
            async with connected(port, request("my-agent", issued)):
                visit = await controller.wait_for_agents()
                assert visit.headers["Secret-Key"] == REAL
            for wrong in (REAL, SECRET, issued[:-1]):
                refused = await ask(port, request("my-agent", wrong))
                check_refusal(refused, log, 403, None, cookie=COOKIE)
            check_refusal(await ask(port, request("x", issued)), log, 403, None, cookie=COOKIE)
            assert len(controller.agents) == 1, "the controller saw the proved agent only"
        nursery.cancel_scope.cancel()
    site.store.close()
    text = everything_logged(log)
    for secret in (issued, REAL, SECRET, COOKIE, NODE_KEY.hex()):
        assert secret not in text
    assert "credential first used" in text


async def test_refusals_are_the_same_to_the_caller(site: Site, log: LogCapture) -> None:
    """Unknown, wrong, revoked, not allowed here, locked out: the same bytes."""
    for name in ("my-agent", "revoked", "elsewhere"):
        site.issuing.issue("main", name)
    site.issuing.revoke("main", "revoked")
    elsewhere = site.issuing.rotate("main", "elsewhere", overlap=0.0).secret
    rules = [{"match": "elsewhere", "allow_from": ["10.0.0.0/8"]}]
    config = site.config(
        "http://127.0.0.1:9/",
        "nodes",
        nodes={"rules": rules},
        # Loopback is never locked out; a trusted proxy says who the client is.
        trusted_proxies=["127.0.0.1/32"],
    )
    answers: set[bytes] = set()
    async with running_gateway(config) as port:
        for node, secret in (
            ("my-agent", SECRET),
            ("unknown", SECRET),
            ("revoked", SECRET),
            ("elsewhere", elsewhere),
            ("my-agent", REAL),
            *(("my-agent", f"{i:064}") for i in range(8)),
        ):
            more = b"X-Forwarded-For: 192.0.2.7\r\n"
            fields = {"Node-Name": node, "Secret-Key": secret, "Connection-Cookie": COOKIE}
            answer = await ask(port, agent_request(fields, more=more))
            error_id = answer.get(b"x-gateway-error-id")
            assert error_id is not None
            head = answer.head.replace(error_id, b"ID")
            answers.add(re.sub(rb"(?i)date: [^\r]*", b"Date:", head) + answer.body)
    site.store.close()
    assert len(answers) == 1
    assert answers.pop().startswith(b"HTTP/1.1 403 ")
    reasons = [entry["reason"] for entry in log.entries if entry["event"] == "request refused"]
    assert sum("locked out" in reason for reason in reasons) == 5
    assert sum("in none of its networks" in reason for reason in reasons) == 1


async def test_a_revocation_ends_live_sessions_on_two_workers(site: Site, log: LogCapture) -> None:
    controller = ScriptedController(stopping_at(Stage.CHANNEL, scripted.stay_silent))
    issued = site.issuing.issue("main", "my-agent").secret
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = site.config(controller.url, "nodes")
        async with (
            running_gateway(config) as one,
            running_gateway(config) as two,
            connected(one, request("my-agent", issued)) as (_, first),
            connected(two, request("my-agent", issued)) as (_, second),
        ):
            site.issuing.revoke("main", "my-agent")
            with trio.fail_after(5):
                for agent in (first, second):
                    assert await agent.receive(1) == b""
                    assert agent.close_code == 1008
        nursery.cancel_scope.cancel()
    site.store.close()
    ends = [entry for entry in log.entries if entry["event"] == "session ended"]
    assert {(entry["by"], entry["close_code"]) for entry in ends} == {("gateway", 1008)}
    assert all("revoked at" in entry["reason"] for entry in ends)


async def test_the_controllers_verdict_is_remembered_for_a_minute(
    site: Site, log: LogCapture, clock: MockClock
) -> None:
    controller = ScriptedController(
        stopping_at(Stage.VERDICT, saying(string("ERROR: Authorization failure")))
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(site.config(controller.url, "controller")) as port:
            for expected in (1, 1, 1):
                refused = await ask(port, request("my-agent", SECRET))
                check_refusal(refused, log, 403, None, cookie=COOKIE)
                assert len(controller.agents) == expected
            await ask(port, request("my-agent", REAL))
            assert len(controller.agents) == 2
            await trio.sleep(60)
            await ask(port, request("my-agent", SECRET))
            assert len(controller.agents) == 3
        nursery.cancel_scope.cancel()
    audited = [entry for entry in log.entries if entry["event"] == "agent refused"]
    assert [(entry["by"], entry.get("repeated")) for entry in audited] == [
        ("controller", None),
        ("controller", 1),
    ]


async def test_a_store_that_cannot_be_used(site: Site, log: LogCapture) -> None:
    StoreKeys.open(site.folder / "store.key")
    (site.folder / "store.key").write_text("damaged")
    async with running_gateway(site.config("http://127.0.0.1:9/", "nodes")) as port:
        refused = await ask(port, request("my-agent", SECRET))
        text = "credentials cannot be checked at the moment, try again"
        check_refusal(refused, log, 503, text, cookie=COOKIE)
