"""Where hostile peers strike: the program, controllers behind it, a session that must survive.

Owns: the set-up that all hostile tests share, and ``Site.endure``: an attack, again and again, with
an eye on what the worker holds afterwards.

Every attack is over when its coroutine returns: it has seen its connection end, or ended it.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import CommandChannel, command, echo, sink
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.stream import End
from tests import certificates
from tests.agents.bridge import FieldValue, agent_request
from tests.gateway_process import GatewayProcess, Line, running_program
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import ScriptedController, own_identity
from tests.peers.tls_peer import TlsPeer
from tests.process_watch import MIB

BAD: Final = "/bad"  # the path of the scripted controller, if there is one
# How much more memory a worker may hold after more rounds of the same. Not zero: what an ended
# session leaves behind is cyclic garbage until the collector's next full run (measured: up to 10
# MiB, and no growth from round 50 to 300), and the allocator's arenas grow in steps. But far below
# what the sessions of these rounds would hold if they leaked: some 100 KiB each, handshakes 35.
SESSIONS: Final = 8 * MIB
HANDSHAKES: Final = 3 * MIB
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Attack = Callable[[], Awaitable[None]]


class Site:
    """A running gateway and its peers. ``tls_port`` and ``plain_port`` are its two listeners."""

    def __init__(
        self, gateway: GatewayProcess, controller: StandInController, nursery: trio.Nursery
    ) -> None:
        self.gateway = gateway
        self.controller = controller
        self.tls_port, self.plain_port = gateway.ports
        self.tls = certificates.client_context()
        self._nursery = nursery
        self._numbers = itertools.count()
        self._healthy: AgentChannel | None = None
        # What the worker has open with the one healthy session: its two legs.
        self.descriptors = gateway.watch.descriptors + 2

    # -- well-behaved agents -----------------------------------------------------------------------

    def new_node(self, kind: str = "good") -> tuple[str, str]:
        """Return name and secret of a node that nobody has used yet."""
        name = f"{kind}-{next(self._numbers)}"
        self.controller.nodes[name] = INBOUND
        return name, self.controller.secret(name)

    async def open_session(self) -> AgentChannel:
        """Open a session as a good agent does."""
        name, secret = self.new_node()
        agent = SimulatedAgent(f"https://localhost:{self.tls_port}/", name, secret, tls=self.tls)
        found = await agent.connect(self._nursery)
        assert isinstance(found, AgentChannel), found
        return found

    async def check_service(self) -> None:
        """Check that the first session still works, that a new one can be opened, and that nothing
        but the first is held when that has ended.
        """
        assert self.gateway.is_worker_alive(), self.gateway.log.tail()
        await self.check_healthy()
        newcomer = await self.open_session()
        await _talk(newcomer)
        await newcomer.close()
        await self.gateway.log.wait_for("session ended", node=newcomer.node)
        await self.gateway.watch.wait_for_descriptors(self.descriptors)

    async def check_healthy(self) -> None:
        """Check that the first session still works."""
        if self._healthy is None:
            self._healthy = await self.open_session()
        await _talk(self._healthy)

    # -- hostile connections -----------------------------------------------------------------------

    async def connect(self, port: int, *, near: str = "127.0.0.1") -> trio.SocketStream:
        """Connect, from the address ``near``; use as ``async with``."""
        return await trio.open_tcp_stream("127.0.0.1", port, local_address=near)

    async def connect_tls(self) -> trio.SSLStream[trio.SocketStream]:
        """Connect and finish the TLS handshake; use as ``async with leaving(...)``."""
        sock = await self.connect(self.tls_port)
        try:
            stream = trio.SSLStream(sock, self.tls, server_hostname="localhost")
            await stream.do_handshake()
        except BaseException:
            sock.socket.close()
            raise
        return stream

    @asynccontextmanager
    async def hostile_session(self, *, prefix: str = "") -> AsyncIterator[tuple[str, RawClient]]:
        """Open a session as agents do, but leave the frames to the caller; yield the node's name.

        The connection is closed afterwards, without another word.
        """
        name, secret = self.new_node("hostile")
        stream = await self.connect_tls()
        try:
            client = RawClient(stream)
            await client.send(request_for(name, secret, prefix=prefix))
            head = await client.read_head()
            assert head.status == 101, head.head
            yield name, client
        finally:
            stream.transport_stream.socket.close()

    # -- the watch ---------------------------------------------------------------------------------

    async def endure(
        self, attack: Attack, *, rounds: int, warm_up: int = 2, tolerance: int = HANDSHAKES
    ) -> None:
        """Let ``attack`` happen again and again, and check after each that nothing stays behind.

        Descriptors return to what they were before the first round. Memory after the last round is
        at most ``tolerance`` bytes above that after ``warm_up`` rounds.
        """
        watch = self.gateway.watch
        before = memory = watch.memory
        for number in range(warm_up + rounds):
            if number == warm_up:
                memory = watch.memory
            await attack()
            await watch.wait_for_descriptors(self.descriptors)
            await self.check_service()
        growth = watch.memory - memory
        print(
            f"memory MiB: before {before / MIB:.1f}, after {warm_up} rounds {memory / MIB:.1f},"
            f" after {rounds} more {watch.memory / MIB:.1f}; {self.descriptors} descriptors"
        )
        assert growth <= tolerance, f"{growth} bytes in {rounds} rounds"
        assert self.gateway.log.problems() == []

    async def stop(self) -> Line:
        """Stop the program; only the one healthy session may have been left, and ends in order."""
        assert self._healthy is not None
        channel = await self.controller.wait_for_channel(self._healthy.node)
        line = await self.gateway.stop()
        assert (line["sessions"], line["connections"]) == (1, 1), line
        await self._healthy.ended.wait()
        assert self._healthy.close_code == 1012
        await channel.ended.wait()
        assert channel.end is End.BARE_EOF
        assert self.gateway.log.problems() == []
        return line


@asynccontextmanager
async def running_site(
    folder: Path,
    bad: ScriptedController | None = None,
    *,
    bad_paths: Sequence[str] = (BAD,),
    **agents: Any,
) -> AsyncIterator[Site]:
    """Run everything inside the block; ``agents`` is that part of the configuration.

    ``bad`` is a controller of its own at each of ``bad_paths``. At the end the program is stopped
    in order, unless the block has failed.
    """
    controller = StandInController({}, identity=own_identity(), on_channel=_behave)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        # Not discovered, because a pin is synced to a disk that others keep busy.
        known = {"identity": own_identity().header}
        config: dict[str, Any] = {
            "listeners": [
                {"address": "127.0.0.1:0", "tls": _tls(folder)},
                {"address": "127.0.0.1:0"},
            ],
            "controllers": {"main": {"url": controller.url, "agents": known}},
            "routes": [{"id": "main", "controller": "main"}],
            "agents": agents,
        }
        if bad is not None:
            await nursery.start(bad.run)
            for path in bad_paths:
                name = path.strip("/")
                url = f"http://127.0.0.1:{bad.http_port}{path}/"
                # Each of its scripts is for one connection, and nothing is to be asked again.
                asked_once = {**known, "takeover": "never"}
                config["controllers"][name] = {"url": url, "agents": asked_once}
                config["routes"].append({"id": name, "controller": name})
        async with running_program(folder, config) as gateway:
            site = Site(gateway, controller, nursery)
            await site.check_service()
            yield site
            await site.stop()
        nursery.cancel_scope.cancel()


def request_for(node: str, secret: str, *, prefix: str = "") -> bytes:
    """Return a good agent's request."""
    fields: dict[str, FieldValue] = {"Node-Name": node, "Secret-Key": secret}
    return agent_request(fields, target=f"{prefix}/wsagents/")


def client_hello() -> bytes:
    """Return a good first flight."""
    context = certificates.client_context()
    return TlsPeer(context, server_side=False, server_name="localhost").handshake()


def address_of(stream: trio.SocketStream) -> dict[str, Any]:
    """Return the near end's address in the fields that the gateway's log has for it."""
    host, port = stream.socket.getsockname()[:2]
    return {"client": host, "client_port": port}


def reset(stream: trio.SocketStream) -> None:
    """Close with a reset."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    stream.socket.close()


async def read_to_end(stream: trio.abc.ReceiveStream, *, within: float = 15.0) -> bytes:
    """Return everything up to the end, orderly or not; fail if there is none in time."""
    data = bytearray()
    with trio.fail_after(within):
        try:
            while piece := await stream.receive_some(65536):
                data += piece
        except trio.BrokenResourceError:
            pass
    return bytes(data)


async def at_once(attacks: list[Attack], *, limit: int = 16) -> None:
    """Run ``attacks``, at most ``limit`` at the same time."""
    places = trio.CapacityLimiter(limit)

    async def run(attack: Attack) -> None:
        async with places:
            try:
                await attack()
            except Exception as error:
                raise AssertionError(f"in the attack {attack}") from error

    async with trio.open_nursery() as nursery:
        for attack in attacks:
            nursery.start_soon(run, attack)


async def _behave(channel: CommandChannel) -> None:
    """Echo what good agents say; what hostile ones say is only counted."""
    await (echo if channel.node.startswith("good") else sink)(channel)


async def _talk(channel: AgentChannel) -> None:
    """Send a command and wait for its echo; slowness is no failure here."""
    said = command("are you there?", size=20_000)
    with trio.fail_after(15):
        await channel.send_command(said)
        assert await channel.receive_command() == said


def _tls(folder: Path) -> dict[str, object]:
    config = certificates.write(folder, "localhost")
    return {"certificates": [{"certificate": str(config.certificate), "key": str(config.key)}]}
