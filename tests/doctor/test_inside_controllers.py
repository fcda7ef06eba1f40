from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gateway.agents.identity import Pin, PinStore
from gateway.config.models import ControllerConfig
from gateway.demo.identity import InstanceIdentity
from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, error
from gateway.doctor.inside import Inside
from gateway.doctor.inside_controllers import check_controllers
from tests.doctor.jenkins import IDENTITY, Jenkins
from tests.doctor.paths import haproxy_front, running
from tests.doctor.test_inside import loaded
from tests.e2e.programs import HOST, free_ports
from tests.tools import require_tool


@pytest.mark.parametrize(
    ("options", "agents", "cause"),
    [
        ({}, {}, None),
        ({"websocket": True}, {}, None),
        ({"websocket": True, "tcp": False}, {}, None),
        ({"websocket": True, "tcp": False}, {"transport": "websocket"}, None),
        ({"websocket": True, "tcp": False}, {"transport": "jnlp4"}, Cause.TCP_PORT_DISABLED),
        ({"tcp": False}, {}, Cause.TCP_PORT_DISABLED),
        ({"tcp": False}, {"transport": "websocket"}, Cause.NO_WEBSOCKET_ENDPOINT),
        ({"starting": True}, {}, Cause.CONTROLLER_STARTING),
        ({}, {"identity": IDENTITY.header}, None),
        ({}, {"identity": InstanceIdentity().header}, Cause.IDENTITY_MISMATCH),
    ],
)
async def test_what_the_gateway_would_meet(
    tmp_path: Path, options: dict[str, Any], agents: dict[str, Any], cause: Cause | None
) -> None:
    async with running(Jenkins(**options)) as jenkins:
        controllers = {"main": {"url": jenkins.url, "agents": agents}}
        inside, _ = await loaded(tmp_path, controllers=controllers)
        found = await check_controllers(inside)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    assert all(line.startswith("controller main: ") for each in found for line in each.seen)


async def test_a_port_that_refuses_is_the_cause(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with running(Jenkins(advertised=port)) as jenkins:
        inside, _ = await loaded(tmp_path, controllers={"main": {"url": jenkins.url}})
        (found,) = await check_controllers(inside)
    assert found.cause is Cause.PORT_BLOCKED


async def test_a_controller_that_is_away(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    inside, _ = await loaded(tmp_path, controllers={"main": {"url": f"http://{HOST}:{port}/"}})
    (found,) = await check_controllers(inside)
    assert found.cause is Cause.CONNECTION_REFUSED


@pytest.mark.parametrize("right", [True, False])
async def test_a_pin_is_compared(tmp_path: Path, right: bool) -> None:
    pinned = IDENTITY if right else InstanceIdentity()
    async with running(Jenkins()) as jenkins:
        inside, _ = await loaded(tmp_path, controllers={"main": {"url": jenkins.url}})
        PinStore(tmp_path / "state").pin_first("main", Pin(pinned.public_key, "test"))
        found = await check_controllers(inside)
    if right:
        assert found == []
        return
    (only,) = found
    assert only.cause is Cause.IDENTITY_MISMATCH
    assert "identity accept main" in only.remedy


@pytest.mark.parametrize("there", [True, False])
async def test_a_controller_without_url(tmp_path: Path, there: bool) -> None:
    async with running(Jenkins()) as jenkins:
        (port,) = free_ports(1)
        address = f"{HOST}:{jenkins.agents.agent_address[1] if there else port}"
        agents = {"address": address, "identity": IDENTITY.header}
        inside, _ = await loaded(tmp_path, controllers={"main": {"agents": agents}})
        found = await check_controllers(inside)
    assert [each.cause for each in found] == ([] if there else [Cause.PORT_BLOCKED])


@pytest.mark.parametrize("tcp", [True, False])
async def test_what_only_the_gateways_own_client_can_reach(
    tmp_path: Path, tcp: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy in front of Jenkins wants to know who the client is."""
    require_tool("haproxy")
    (port,) = free_ports(1)
    fields = f"  bind {HOST}:{port} accept-proxy\n"
    async with (
        running(Jenkins(tcp=tcp)) as jenkins,
        haproxy_front(tmp_path, jenkins.port, None, fields=fields),
    ):
        controllers = {"main": {"url": f"http://{HOST}:{port}/", "proxy_protocol": "v2"}}
        inside, _ = await loaded(tmp_path, controllers=controllers)
        found = await check_controllers(inside)
    assert [each.cause for each in found] == ([] if tcp else [Cause.CONTROLLER_DOWN])
    assert capsys.readouterr().out == ""  # JSON may be on its way there


@pytest.mark.parametrize("right", [True, False])
async def test_the_url_of_the_cli_is_compared(tmp_path: Path, right: bool) -> None:
    root = "https://ci.example.com/"
    async with running(Jenkins(websocket=True, root=root)) as jenkins:
        url = root if right else "https://other.example.com/"
        controllers = {"main": {"url": jenkins.url, "jenkins_url": url}}
        inside, _ = await loaded(tmp_path, controllers=controllers)
        found = await check_controllers(inside)
    if right:
        assert found == []
        return
    (only,) = found
    assert only.cause is Cause.CLI_ORIGIN
    assert "set controllers.main.jenkins_url to" in only.remedy


async def test_many_controllers_are_asked_at_once(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 60 s, and one never ends: the others are told all the same."""

    async def slow(_: Inside, name: str, controller: ControllerConfig) -> list[Finding]:
        await trio.sleep(math.inf if name == "c0" else 60)
        return [error(Cause.CONTROLLER_DOWN, "down", seen=name, meaning="m", remedy="r")]

    monkeypatch.setattr("gateway.doctor.inside_controllers._one", slow)
    controllers = {f"c{number}": {"url": f"http://{HOST}:9/"} for number in range(20)}
    routes = [
        {"id": name, "host": f"{name}.example.com", "controller": name} for name in controllers
    ]
    inside, _ = await loaded(tmp_path, controllers=controllers, routes=routes)
    found = await check_controllers(inside)
    assert len(found) == 19
    assert inside.saw.startswith("c0: not looked at in time; c1: down")
