"""Agents and controllers as processes of their own, which may be killed at any moment.

Owns: one process that has imported everything and forks a child for each peer, since starting an
interpreter takes longer than a session of these tests lives; and, at the bottom, its program.

    async with forked_peers() as peers:
        controller = await peers.start_controller(["a", "b"])
        agent = await peers.start_agent(url, "a", controller.secrets["a"])
        await peers.kill(agent.pid)

Children are killed by their parent, which has not yet waited for them: no process that merely got
the same number later is ever hit.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import trio

from gateway.demo.agent import SimulatedAgent, trusting_anybody
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import CommandChannel, command, echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.identity import InstanceIdentity
from gateway.demo.stream import ConnectionEnded

_ROOT: Final = Path(__file__).parent.parent.parent
_LARGEST: Final = 30_000  # bytes in an agent's command

Message = dict[str, Any]


@dataclass
class Peer:
    """A child process; ``ended``: it has said its last word, or is dead."""

    pid: int
    opened: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    outcome: str = "killed"


@dataclass
class ControllerPeer(Peer):
    """A controller in a child process."""

    url: str = ""
    secrets: dict[str, str] = field(default_factory=dict)


class ForkedPeers:
    """The test's end."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._peers: dict[int, Peer] = {}
        self._asking = trio.Lock()
        self._sending = trio.Lock()
        self._started, self._starts = trio.open_memory_channel[Message](1)

    async def start_controller(self, nodes: Sequence[str], prefix: str = "") -> ControllerPeer:
        """Start a controller that knows ``nodes`` and echoes; return once it listens."""
        message = {"start": "controller", "nodes": list(nodes), "prefix": prefix}
        peer = await self._start(ControllerPeer, message)
        assert isinstance(peer, ControllerPeer)
        await peer.opened.wait()
        return peer

    async def start_agent(self, url: str, node: str, secret: str) -> Peer:
        """Start an agent that tries once, and sends commands for as long as it can."""
        return await self._start(
            Peer, {"start": "agent", "url": url, "node": node, "secret": secret}
        )

    async def kill(self, pid: int) -> None:
        """Kill a child with SIGKILL, if it is still there; return once it is gone."""
        peer = self._peers[pid]
        await self._say({"kill": pid})
        await peer.ended.wait()

    async def _start(self, kind: type[Peer], message: Message) -> Peer:
        async with self._asking:
            await self._say(message)
            started = await self._starts.receive()
            peer = self._peers[started["pid"]] = kind(started["pid"])
            await self._say({"go": peer.pid})  # nothing it says can come before it is known
        return peer

    async def _say(self, message: Message) -> None:
        assert self._process.stdin is not None
        async with self._sending:
            await self._process.stdin.send_all(json.dumps(message).encode() + b"\n")

    async def listen(self) -> None:
        """Take what the children say."""
        assert self._process.stdout is not None
        buffer = b""
        async for data in self._process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                await self._take(json.loads(line))

    async def _take(self, message: Message) -> None:
        if message["event"] == "started":
            await self._started.send(message)
            return
        peer = self._peers[message["pid"]]
        if message["event"] == "listening":
            assert isinstance(peer, ControllerPeer)
            peer.url, peer.secrets = message["url"], message["secrets"]
            peer.opened.set()
        elif message["event"] == "open":
            peer.opened.set()
        elif message["event"] == "done":
            peer.outcome = message["outcome"]
        elif message["event"] == "gone":
            peer.ended.set()


@asynccontextmanager
async def forked_peers() -> AsyncIterator[ForkedPeers]:
    """Run the parent inside the block; all its children are killed at the end."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.peers.forked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        peers = ForkedPeers(process)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.listen)
            yield peers
            await process.stdin.aclose()
            await process.wait()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()


# -- the parent's program --------------------------------------------------------------------------


def main() -> None:
    """Fork and kill as told on standard input, until its end."""
    identity = InstanceIdentity()
    children: dict[int, int] = {}  # of each child that is not waited for: the pipe it begins at
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it interrupts the wait below
    inbox = _Inbox()
    while (messages := inbox.receive()) is not None:
        for message in messages:
            if "start" in message:
                pid, begin = _fork(partial(_run_child, message, identity))
                children[pid] = begin
                _report(event="started", pid=pid)
            elif "go" in message:
                os.write(children[message["go"]], b"!")
            elif message["kill"] in children:
                os.kill(message["kill"], signal.SIGKILL)
        _reap(children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


class _Inbox:
    """Standard input as messages; looks up every now and then for children that have ended."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self) -> list[Message] | None:
        """Return what has come, perhaps nothing; None at the end."""
        readable, _, _ = select.select([0], [], [], 0.01)
        if not readable:
            return []
        data = os.read(0, 65536)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]


def _fork(run: partial[NoReturn]) -> tuple[int, int]:
    begin, started = os.pipe()
    pid = os.fork()
    if pid:
        os.close(begin)
        return pid, started
    try:
        os.close(started)
        os.close(0)
        os.read(begin, 1)
        run()
    finally:
        os._exit(1)


def _reap(children: dict[int, int]) -> None:
    for pid, begin in list(children.items()):
        found, _ = os.waitpid(pid, os.WNOHANG)
        if found:
            os.close(begin)
            del children[pid]
            _report(event="gone", pid=pid)


def _run_child(message: Message, identity: InstanceIdentity) -> NoReturn:
    random.seed()
    if message["start"] == "controller":
        trio.run(_control, message["nodes"], message["prefix"], identity)
    else:
        trio.run(_be_an_agent, message["url"], message["node"], message["secret"])
    os._exit(0)


def _report(**message: object) -> None:
    """Write one line at once: shorter than a pipe's atomic size, lines never mix."""
    os.write(1, json.dumps({"pid": os.getpid(), **message}).encode() + b"\n")


async def _control(nodes: Sequence[str], prefix: str, identity: InstanceIdentity) -> None:
    controller = StandInController(
        dict.fromkeys(nodes, INBOUND), identity=identity, on_channel=echo, prefix=prefix
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        secrets = {node: controller.secret(node) for node in nodes}
        _report(event="listening", url=controller.url, secrets=secrets)


async def _be_an_agent(url: str, node: str, secret: str) -> None:
    agent = SimulatedAgent(url, node, secret, tls=trusting_anybody())
    async with trio.open_nursery() as nursery:
        found = await agent.connect(nursery, _chatter)
        if isinstance(found, AgentChannel):
            _report(event="open")
            await found.ended.wait()
            _report(event="done", outcome=f"session {found.close_code}")
        else:
            _report(event="done", outcome=str(getattr(found, "status", "no answer")))


async def _chatter(channel: CommandChannel) -> None:
    """Send a command, wait for its echo, and so on."""
    with suppress(ConnectionEnded, trio.EndOfChannel):
        while True:
            said = command("", size=random.randrange(1, _LARGEST))
            await channel.send_command(said)
            assert await channel.receive_command() == said
            await trio.sleep(random.uniform(0, 0.05))


if __name__ == "__main__":
    main()
