"""How the controller leg ends, whoever ended the session: with a FIN, and never a close_notify.

Java's ``SSLEngineFilterLayer`` does not pass on the FIN that follows a close_notify: with one, the
node would stay "connected" for minutes (seen with remoting 3355). And a reset could take what the
agent said last.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture

from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import CLOSE_COMMAND, command, echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.stream import End
from gateway.server.control import ControlStream
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener, bind
from tests.agents.bridge import agent_request, make_config
from tests.faults.link import Session, WatchedRegistry, running_link, talk
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import (
    CAPABILITY,
    COOKIE,
    ScriptedController,
    Stage,
    Visit,
    own_identity,
    stopping_at,
    string,
    tls_context,
)
from tests.peers.tls_peer import TlsPeer

LAST: Final = command("last words", size=200_000)


async def _close_frame(session: Session) -> None:
    await session.agent.close(last_command=LAST)


async def _eof(session: Session) -> None:
    await session.agent.send_command(LAST)
    await session.agent.drop()


async def _reset(session: Session) -> None:
    session.agent.kill()


async def _violation(session: Session) -> None:
    await session.agent._wire.send(b"\xff" * 20)
    await session.agent.ended.wait()


ENDS: Final[dict[str, Callable[[Session], Awaitable[None]]]] = {
    "Close frame": _close_frame,
    "EOF": _eof,
    "reset": _reset,
    "violation": _violation,
}


@pytest.mark.parametrize("name", ENDS)
async def test_an_agents_end_is_a_bare_fin(
    name: str, tmp_path: Path, log: LogCapture, registry: WatchedRegistry
) -> None:
    async with running_link(tmp_path, log, registry, on_channel=None) as link:
        session = await link.open()
        await ENDS[name](session)
        with trio.fail_after(10):
            await session.controller.ended.wait()
            await link.wait_for_end()
        assert session.controller.end is End.BARE_EOF
        if name in ("Close frame", "EOF"):
            assert await session.controller.receive_command() == LAST


async def test_the_controllers_own_end_is_answered_with_a_bare_fin(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry
) -> None:
    """``Channel.close()`` of the Java controller: a CloseCommand, often lost, then a bare EOF."""
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        attempt = link.controller.attempts[-1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.controller.close)
            assert await session.agent.receive_command() == CLOSE_COMMAND
            await session.agent.ended.wait()
        assert session.agent.close_code == 1000
        line = await link.wait_for_end()
        assert line["reason"] == "the controller closed the connection"
        with trio.fail_after(10):
            await attempt.finished.wait()
        # Its own end came first, so what it saw of ours is in its stream only: no TLS failure, and
        # the node is free.
        assert attempt.end is End.HERE
        await link.check_next()


async def test_stopping_is_a_bare_fin(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry
) -> None:
    controller = StandInController({"a": INBOUND}, identity=own_identity(), on_channel=echo)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = make_config(tmp_path, controller.url)
        (listener,) = config.listeners
        bound = BoundListener(listener, trio.socket.from_stdlib_socket(bind(listener)))
        ours, theirs = (trio.SocketStream(each) for each in trio.socket.socketpair())
        async with trio.open_nursery() as worker:
            await worker.start(serve, [bound], config, ControlStream(theirs))
            agent = await _agent(controller, bound.port, nursery)
            channel = await controller.wait_for_channel("a")
            await talk(agent)
            await ControlStream(ours).send({"type": "stop"})
            with trio.fail_after(10):
                await channel.ended.wait()
                await agent.ended.wait()
        assert channel.end is End.BARE_EOF
        assert agent.close_code == 1012
        await ours.aclose()
        await theirs.aclose()
        nursery.cancel_scope.cancel()
    (ended,) = (line for line in log.entries if line["event"] == "session ended")
    assert (ended["by"], ended["close_code"]) == ("gateway", 1012)


async def _agent(controller: StandInController, port: int, nursery: trio.Nursery) -> AgentChannel:
    from gateway.demo.agent import SimulatedAgent

    agent = SimulatedAgent(f"http://127.0.0.1:{port}/", "a", controller.secret("a"))
    found = await agent.connect(nursery)
    assert isinstance(found, AgentChannel)
    return found


# -- an agent that leaves while its leg has just been opened ---------------------------------------


class _Coincidence:
    """A controller whose last word and an agent's end arrive in the same moment.

    TLS by hand: both are written without a checkpoint between them, so that the gateway cannot
    have seen the one without the other.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.met = trio.Event()
        self.ended = trio.Event()
        self.close_notify = False
        self.reset = False
        self.inside = b""

    async def __call__(self, visit: Visit) -> None:
        sock = visit._socket
        peer = TlsPeer(tls_context(own_identity()), server_side=True)
        while not peer.handshake_done:
            answer = peer.handshake(bytes(await sock.receive_some(65536)))
            if answer:
                await sock.send_all(answer)
        headers = string(json.dumps({"JnlpAgentProtocol.cookie": COOKIE}))
        await sock.send_all(peer.send(headers + string("OK")))
        while not self.inside.endswith(string("OK")):
            self.inside += peer.receive(bytes(await sock.receive_some(65536)))
        last_word = peer.send(string(CAPABILITY))
        stdlib = socket.socket(fileno=os.dup(sock.socket.fileno()))
        with stdlib:
            assert stdlib.send(last_word) == len(last_word)
            self._leave()
        self.met.set()
        try:
            while data := bytes(await sock.receive_some(65536)):
                self.inside += peer.receive(data)
        except trio.BrokenResourceError:
            self.reset = True
        self.close_notify = peer.closed
        self.ended.set()


@pytest.mark.parametrize("kind", ["EOF", "reset"])
async def test_an_agent_that_leaves_as_its_leg_opens(
    kind: str, tmp_path: Path, log: LogCapture, registry: WatchedRegistry
) -> None:
    """The leg is given up in order: no reset, no close_notify, and no capability was sent on it."""
    clients: list[RawClient] = []

    def leave() -> None:
        stream = clients[0].stream
        assert isinstance(stream, trio.SocketStream)
        if kind == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.socket.close()

    coincidence = _Coincidence(leave)
    controller = ScriptedController(stopping_at(Stage.TLS, coincidence))
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        config = make_config(tmp_path, controller.url)
        (listener,) = config.listeners
        bound = BoundListener(listener, trio.socket.from_stdlib_socket(bind(listener)))
        await nursery.start(serve, [bound], config)
        clients.append(await RawClient.connect(bound.port))
        await clients[0].send(agent_request())
        with trio.fail_after(10):
            await coincidence.met.wait()
            await coincidence.ended.wait()
        nursery.cancel_scope.cancel()
    assert not coincidence.reset
    assert not coincidence.close_notify
    assert coincidence.inside.endswith(string("OK"))
    assert registry.over == 0
    (line,) = (line for line in log.entries if line.get("status") == 499)
    assert line["reason"].startswith("the client closed the connection")
