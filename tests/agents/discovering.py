"""Discovery by itself: a scripted controller and the ways in which a configuration names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gateway.agents.discovery import Discovery
from gateway.config.models import ControllerConfig
from gateway.errors import GatewayError
from gateway.http.upstream import fetch
from tests.peers.scripted_controller import ScriptedController, own_identity


@asynccontextmanager
async def running(controller: ScriptedController) -> AsyncIterator[Discovery]:
    """Run ``controller`` inside the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(300):
            yield Discovery(fetch)
        nursery.cancel_scope.cancel()


def by_url(controller: ScriptedController, **agents: Any) -> ControllerConfig:
    return ControllerConfig.model_validate({"url": controller.url, "agents": agents})


def by_address(controller: ScriptedController) -> ControllerConfig:
    """Return the configuration of a controller of which only the TCP agent port is reachable."""
    address = f"127.0.0.1:{controller.agent_port}"
    return ControllerConfig.model_validate(
        {"agents": {"address": address, "identity": own_identity().header}}
    )


async def fail_to_discover(discovery: Discovery, config: ControllerConfig) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await discovery.agent_port("main", config)
    return caught.value
