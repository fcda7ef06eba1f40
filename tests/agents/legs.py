"""Controller legs by themselves: opening one to a scripted controller, and failing to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio

from gateway.agents.jnlp4_leg import ControllerLeg, LegOpener, LegRequest
from gateway.config.values import Address
from gateway.errors import GatewayError
from tests.peers.scripted_controller import ScriptedController, own_identity

# Made up, and of the form that real ones have.
SECRET: Final = "5ec7e7" * 10 + "5ec7"
COOKIE: Final = "a6e27c" * 10 + "a6e2"


def make_request(controller: ScriptedController, **changes: object) -> LegRequest:
    """Return a request for ``controller`` that differs from an ordinary one in ``changes``."""
    fields: dict[str, object] = {
        "address": Address("127.0.0.1", controller.agent_port),
        "protocol": "JNLP4-connect",
        "identity": own_identity().public_key,
        "node": "my-agent",
        "secret": SECRET,
        "cookie": COOKIE,
    }
    return LegRequest(**(fields | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(controller: ScriptedController, **changes: object) -> AsyncIterator[ControllerLeg]:
    """Open a leg to ``controller`` inside the block."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(10):
            leg = await LegOpener().open(make_request(controller, **changes))
            try:
                yield leg
            finally:
                leg.stream.abort()
        nursery.cancel_scope.cancel()


async def fail_to_open(controller: ScriptedController, **changes: object) -> GatewayError:
    """Return the error that opening a leg raises; the controller has then seen its end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        with trio.fail_after(10):
            with pytest.raises(GatewayError) as caught:
                await LegOpener().open(make_request(controller, **changes))
            await (await controller.wait_for_agents()).ended.wait()
        nursery.cancel_scope.cancel()
    return caught.value
