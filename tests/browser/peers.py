"""A controller and agents, as a program: ``python -m tests.browser.peers NODE...``.

It writes one JSON line with the controller's url, reads one with the gateway's, and then connects
the agents, which come back whenever their sessions end. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.controller import INBOUND, StandInController


async def main(nodes: Sequence[str]) -> None:
    """Play them."""
    controller = StandInController(dict.fromkeys(nodes, INBOUND))
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        print(json.dumps({"controller": controller.url}), flush=True)
        stdin = trio.lowlevel.FdStream(os.dup(0))
        url = json.loads(await stdin.receive_some())["gateway"]
        for node in nodes:
            nursery.start_soon(SimulatedAgent(url, node, controller.secret(node)).run)
        while await stdin.receive_some():
            pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1:])
