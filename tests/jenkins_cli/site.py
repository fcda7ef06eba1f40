"""A gateway in this process, between the peers of the CLI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.peers.cli_controller import CliController
from tests.server.workers import Worker, make_config, running_worker


@asynccontextmanager
async def site(
    folder: Path,
    controller: CliController,
    *,
    cli: dict[str, Any] | None = None,
    keys: dict[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Worker]:
    """Run ``controller`` and a gateway before it.

    ``cli``: the keys of the controller's ``cli``; ``keys``: further ones of the controller.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        main = {"url": controller.url, "cli": cli or {}, **(keys or {})}
        config = make_config(folder, controllers={"main": main}, **more)
        async with running_worker(config) as worker:
            yield worker
        nursery.cancel_scope.cancel()
