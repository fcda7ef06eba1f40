"""The compose example: it is one that compose takes, and its parts fit together."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from gateway.config.load import load
from gateway.config.values import Address
from tests.tools import require_tool

FOLDER = Path(__file__).parents[2] / "deploy/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_compose_takes_it() -> None:
    command = [require_tool("compose-go"), str(FOLDER / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    assert "agent-1" in done.stdout.decode()


def test_the_configuration_fits_the_services() -> None:
    config = load(FOLDER / "gateway.yaml").config
    controller = config.controllers["main"]
    assert controller.url is not None
    assert controller.url.host in SERVICES
    port = int(SERVICES["controller"]["environment"]["JENKINS_SLAVE_AGENT_PORT"])
    assert controller.agents.address == Address("controller", port)
    (listener,) = config.listeners
    published = SERVICES["gateway"]["ports"][0]
    assert published == f"127.0.0.1:{listener.address.port}:{listener.address.port}"
    command = SERVICES["agent"]["command"]
    assert f"http://gateway:{listener.address.port}/" in command
    grace = config.shutdown.pre_stop + config.shutdown.drain_timeout + 10
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) >= grace


def test_files_and_volumes_are_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (FOLDER / source).is_file(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
        for other in service.get("depends_on", {}):
            assert other in SERVICES


def test_agent_and_controller_mean_the_same_node_and_file() -> None:
    groovy = (FOLDER / "controller.groovy").read_text()
    command = SERVICES["agent"]["command"]
    node = command[command.index("-name") + 1]
    secret = command[command.index("-secret") + 1]
    assert f"'{node}'" in groovy
    assert f"'{secret.removeprefix('@')}'" in groovy


def test_the_gateway_may_do_as_little_as_possible() -> None:
    gateway = SERVICES["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
