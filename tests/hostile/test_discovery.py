"""A controller whose discovery document is garbage: agents are told to wait; nothing is held."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.site import Site, at_once, request_for, running_site
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import ScriptedController, Visit, close

pytestmark = pytest.mark.e2e

DOCUMENTS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": random.Random(17).randbytes(50_000),
    "an endless line": b"HTTP/1.1 200 " + b"O" * 1_000_000,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100_000,
    "a body that never ends": b"HTTP/1.1 200 OK\r\n\r\n" + b"<html>" * 300_000,
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no port": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "port 0": b"HTTP/1.1 200 OK\r\nX-Jenkins-JNLP-Port: 0\r\nContent-Length: 0\r\n\r\n",
    "port 2**40": b"HTTP/1.1 200 OK\r\nX-Jenkins-JNLP-Port: 1099511627776\r\n"
    b"Content-Length: 0\r\n\r\n",
    "1,000 early answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
}


PATHS: Final = {f"/bad-{number}": name for number, name in enumerate(DOCUMENTS)}


async def _answer_badly(visit: Visit) -> None:
    """Answer with the document that belongs to the path."""
    path = visit.opening.split(" ")[1].removesuffix("/tcpSlaveAgentListener/")
    await visit.send(DOCUMENTS[PATHS[path]])
    await close(visit)


async def _discover(site: Site, path: str) -> None:
    name = PATHS[path]
    async with await RawClient.connect(site.plain_port) as client:
        await client.send(request_for("any-node", "5ec7e7", prefix=path))
        with trio.fail_after(15):
            answer = await client.read_answer()
    assert answer.status in (502, 503), f"{name}: {answer.head!r}"
    error_id = (answer.get(b"x-gateway-error-id") or b"").decode()
    (line,) = await site.gateway.log.wait_for("request failed", error_id=error_id)
    assert line["reason"], name


async def test_garbage_in_discovery(tmp_path: Path) -> None:
    controller = ScriptedController()
    controller.on_request = _answer_badly
    async with running_site(tmp_path, controller, bad_paths=tuple(PATHS)) as site:

        async def one_round() -> None:
            await at_once([partial(_discover, site, path) for path in PATHS])
            await trio.sleep(1.05)  # failures are remembered for a second

        await site.endure(one_round, rounds=1, warm_up=1)
    assert controller.connections == 0
