"""The endpoint with modes that judge here: what agents and controllers get to see."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.credentials.conditions import Conditions
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
from tests.peers.raw_frames import CLOSE
from tests.peers.scripted_controller import ScriptedController, Stage, saying, stopping_at, string
from tests.peers.ws_controller import WebSocketController

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


# -- relayed to a controller that speaks WebSocket -------------------------------------------------


@asynccontextmanager
async def relaying(site: Site, *modes: str) -> AsyncIterator[tuple[int, WebSocketController]]:
    """Run a controller and a gateway in front of it, which believes 127.0.0.1 who a client is."""
    controller = WebSocketController({"my-agent": REAL})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = site.config(
            controller.url,
            *modes,
            agents={"transport": "websocket"},
            trusted_proxies=["127.0.0.1/32"],
        )
        async with running_gateway(config) as port:
            yield port, controller
        nursery.cancel_scope.cancel()
    site.store.close()


@pytest.mark.parametrize("how", ["revoked", "expired", "moved"])
async def test_a_relayed_session_ends(site: Site, log: LogCapture, how: str) -> None:
    issued = site.issuing.issue("main", "my-agent").secret
    async with relaying(site, "nodes") as (port, controller):
        async with connected(port, request("my-agent", issued)) as (_, agent):
            end = await controller.wait_for_end()
            if how == "revoked":
                site.issuing.revoke("main", "my-agent")
            elif how == "expired":
                site.issuing.expire("main", "my-agent", at=time.time() + 1.0)
            else:
                networks = (ipaddress.ip_network("192.0.2.0/24"),)
                site.issuing.change("main", "my-agent", conditions=Conditions(networks))
            with trio.fail_after(5):
                assert await agent.receive(1) == b""
                assert agent.close_code == 1008
                assert (await end.read_until(CLOSE))[1][:2] == (1001).to_bytes(2, "big")
            await end.close(1001)
            await agent.close()
            await end.read_to_end()
        refused = await ask(port, request("my-agent", issued))
        check_refusal(refused, log, 403, None, cookie=COOKIE)
        assert [each.get(b"secret-key") for each in controller.upgrades] == [REAL.encode()]
    (line,) = [entry for entry in log.entries if entry["event"] == "session ended"]
    assert (line["by"], line["close_code"]) == ("gateway", 1008)
    assert {"revoked": "revoked at", "expired": "not valid since", "moved": "none of its"}[
        how
    ] in line["reason"]
    text = everything_logged(log)
    for secret in (issued, REAL, COOKIE):
        assert secret not in text


def behind_proxy(secret: str, address: str) -> bytes:
    fields = {"Node-Name": "my-agent", "Secret-Key": secret, "Connection-Cookie": COOKIE}
    return agent_request(fields, more=f"X-Forwarded-For: {address}\r\n".encode())


async def test_a_locked_out_agent_is_not_relayed(site: Site, log: LogCapture) -> None:
    async with relaying(site, "controller") as (port, controller):
        for i in range(5):
            for _ in range(2):  # the second time from memory
                assert (await ask(port, behind_proxy(f"{i:064}", "192.0.2.7"))).status == 403
        assert len(controller.upgrades) == 5, "judged by the controller, once each"
        refused = await ask(port, behind_proxy(REAL, "192.0.2.7"))
        check_refusal(refused, log, 403, None, cookie=COOKIE)
        assert len(controller.upgrades) == 5, "nobody asks while it is locked out"
        async with connected(port, behind_proxy(REAL, "192.0.2.8")):
            assert len(controller.upgrades) == 6, "its neighbour is not"
    (line,) = [entry for entry in log.entries if entry["event"] == "locked out"]
    assert (line["client"], line["node"], line["lock_s"]) == ("192.0.2.7", "my-agent", 60.0)


async def test_a_proved_agent_is_relayed_though_its_address_is_locked_out(
    site: Site, log: LogCapture
) -> None:
    issued = site.issuing.issue("main", "my-agent").secret
    async with relaying(site, "nodes", "controller") as (port, controller):
        for i in range(6):
            assert (await ask(port, behind_proxy(f"{i:064}", "192.0.2.7"))).status == 403
        assert len(controller.upgrades) == 5
        async with connected(port, behind_proxy(issued, "192.0.2.7")):
            assert controller.upgrades[-1].get(b"secret-key") == REAL.encode()
    assert "locked out" in [entry["event"] for entry in log.entries]


async def test_jenkins_secrets_are_judged_before_anything_is_relayed(
    site: Site, log: LogCapture
) -> None:
    async with relaying(site, "jenkins_secrets") as (port, controller):
        for node, secret in (("my-agent", SECRET), ("unknown", REAL), ("my-agent", REAL[:-1])):
            refused = await ask(port, request(node, secret))
            check_refusal(refused, log, 403, None, cookie=COOKIE)
        assert controller.requests == []
        async with connected(port, request("my-agent", REAL)):
            (seen,) = controller.upgrades
            assert seen.get(b"secret-key") == REAL.encode()
