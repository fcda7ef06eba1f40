"""Cancel at every await of a relayed WebSocket, from the request to its end, closing included.

As ``test_cancellation`` does for bridged sessions, with its probe: whatever the step, both legs are
closed, nothing is held, nothing but Cancelled comes out, and the next session works.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents.registry import Registry
from gateway.http.connection import serve_connection
from gateway.transport.stream import Stream
from tests.agents.bridge import (
    SECRET,
    agent_request,
    leaving_nothing_behind,
    make_config,
    running_gateway,
)
from tests.agents.test_cancellation import PATIENCE, Probe, check_accounts
from tests.peers.raw_client import RawClient, Truncated
from tests.peers.raw_frames import BINARY, CLOSE, MASK, PING
from tests.peers.ws_controller import WebSocketController, answer
from tests.peers.ws_end import End

CLI: Final = (
    b"GET /cli/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    b"Upgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
REQUESTS: Final = {"agent": agent_request(), "cli": CLI}


async def echo(end: End) -> None:
    """Send back what comes, the Close frame last."""
    done = 0
    while await end.receive():
        for opcode, payload in end.frames[done:]:
            if opcode in {BINARY, CLOSE}:
                await end.send(opcode, payload)
            if opcode == CLOSE:
                await end.stream.send_eof()  # type: ignore[attr-defined]
        done = len(end.frames)


class Relay:
    """A gateway whose next connection is watched by a probe."""

    def __init__(self, controller: WebSocketController, registry: Registry) -> None:
        self.controller = controller
        self.registry = registry
        self.port = 0
        self._probe: Probe | None = None

    async def serve(self, stream: Stream, **options: Any) -> None:
        """Stand in for ``serve_connection``."""
        probe, self._probe = self._probe, None
        if probe is None:
            await serve_connection(stream, **options)
            return
        with probe.watch():
            await serve_connection(stream, **options)

    async def converse(self, request: bytes) -> bool:
        """Live a whole life; return whether it was one."""
        async with await RawClient.connect(self.port) as client:
            await client.send(request)
            if (await client.read_head()).status != 101:
                return False
            end = End(client.stream, MASK, bytes(client.buffer))
            await end.send(BINARY, b"x" * 20_000)
            await end.read_until(BINARY)
            await end.read_until(PING)
            await end.close()
            await end.read_until(CLOSE)
            while await end.receive():
                pass
            return True

    async def live(self, request: bytes, probe: Probe) -> None:
        """Live on a connection that ``probe`` watches, as far as that lets it."""
        self._probe = probe
        trio.lowlevel.add_instrument(probe)
        try:
            with trio.fail_after(PATIENCE):
                with suppress(trio.BrokenResourceError, Truncated, AssertionError):
                    await self.converse(request)
                await probe.ended.wait()
        finally:
            trio.lowlevel.remove_instrument(probe)

    async def check_next(self, request: bytes) -> None:
        """Check that a session works."""
        with trio.fail_after(PATIENCE):
            assert await self.converse(request)


@asynccontextmanager
async def relay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    """Run a gateway that has one place for everything, and pings all the time."""
    registry = Registry()
    monkeypatch.setattr("gateway.server.generation.Registry", lambda: registry)
    controller = WebSocketController({"my-agent": SECRET}, echo)
    made = Relay(controller, registry)
    monkeypatch.setattr("gateway.server.worker.serve_connection", made.serve)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = make_config(
            folder,
            controller.url,
            agents={"transport": "websocket"},
            limits={"controller_handshakes": 1},
            log={"access": {"to": "off"}},
        )
        keepalive = config.agents.keepalive.model_copy(update={"interval": 0.01})
        agents = config.agents.model_copy(update={"keepalive": keepalive})
        main = config.controllers["main"]
        connections = main.connections.model_copy(update={"websockets": 1})
        main = main.model_copy(update={"connections": connections})
        changed = {"agents": agents, "controllers": {"main": main}}
        async with running_gateway(config.model_copy(update=changed)) as made.port:
            yield made
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [*REQUESTS, "refused"])
async def test_every_await(
    kind: str, tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = REQUESTS.get(kind, agent_request())
    async with relay(tmp_path, monkeypatch) as made:
        await made.check_next(request)
        refusal = answer(b"400 No", b"no") if kind == "refused" else None
        counts = []
        for _ in range(3):
            made.controller.refusal = refusal
            probe = Probe()
            await made.live(request, probe)
            counts.append(probe.steps)
        for early in (True, False):
            for at in itertools.count(1):
                made.controller.refusal = refusal
                probe = Probe(at, early=early)
                async with leaving_nothing_behind():
                    await made.live(request, probe)
                    assert len(made.registry) == 0
                if not probe.struck and at > max(counts):
                    break
                made.controller.refusal = None
                await made.check_next(request)
        assert [line for line in log.entries if line["event"] == "internal error"] == []
        check_accounts(log)
