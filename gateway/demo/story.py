"""``remoting-gateway demo``: one agent session through a real gateway, step by step, on loopback.

Owns: the story, what must come of each step, and the configuration it runs with. The gateway is the
real one, started through the process seam ``server.worker.serve``; both its peers are stand-ins.

Must not know: how the gateway works inside. Everything that is checked is seen from outside it.
"""

from __future__ import annotations

import hashlib
import shlex
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import trio

from gateway.config.load import for_single_controller
from gateway.config.logs import AccessLogConfig, LogConfig
from gateway.config.models import AgentsConfig, KeepaliveConfig
from gateway.demo.agent import Attempted, MustStop, SimulatedAgent, Step, StepKind, trusting
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import CLOSE_COMMAND, CommandChannel, StandInChannel, sink
from gateway.demo.controller import INBOUND, NOT_INBOUND, StandInController
from gateway.demo.faults import Faults, Stage, UseIdentity
from gateway.demo.identity import InstanceIdentity
from gateway.demo.report import Report
from gateway.demo.stream import ConnectionEnded
from gateway.demo.wire import COMMAND_START, capability_ascii, capability_mask
from gateway.observability.logs import configure
from gateway.server.self_signed import SelfSigned, ensure
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener, bind

HOST: Final = "127.0.0.1"
NODE: Final = "demo-agent"
OUTBOUND_NODE: Final = "ssh-agent"
FREE_NODE: Final = "real-agent"  # with --stay, for whoever wants to connect
AGENT_MASK: Final = 0x1FE
CONTROLLER_MASK: Final = 0x0FE  # another one, so that the two cannot be mistaken for each other
STORY_TIMEOUT: Final = 12.0  # seconds; it takes two or three
STEP_TIMEOUT: Final = 5.0
_PAYLOADS: Final = (1, 100, 8188, 8189, 65_532, 300_000, 1_000_000)  # bytes in the commands sent


def run_demo(*, stay: bool, report: Report | None = None) -> int:
    """Tell the story; return 0 if everything was as expected, else 1.

    ``stay``: afterwards keep gateway and controller running until SIGINT or SIGTERM, and print how
    to connect a real agent.
    """
    report = Report() if report is None else report
    with tempfile.TemporaryDirectory(prefix="remoting-gateway-demo-") as folder:
        signed = ensure(Path(folder), host=HOST)
        log_path = Path(folder, "gateway.log")
        with log_path.open("w", encoding="utf-8") as log:
            configure(json=False, stream=log)
            trio.run(partial(_run, report, signed, stay=stay))
        if not report.passed:
            report.heading("The gateway's log")
            report.text(log_path.read_text("utf-8").rstrip() or "(empty)")
    return 0 if report.passed else 1


async def _run(report: Report, signed: SelfSigned, *, stay: bool) -> None:
    controller = StandInController(
        {NODE: INBOUND, FREE_NODE: INBOUND, OUTBOUND_NODE: NOT_INBOUND},
        capability=capability_ascii(CONTROLLER_MASK),
        on_channel=_Visitors(report),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        url = await _start_gateway(nursery, controller, signed)
        with trio.move_on_after(STORY_TIMEOUT) as scope:
            await _Story(report, controller, url, signed).tell()
        if scope.cancelled_caught:
            report.check("time", expected=f"within {STORY_TIMEOUT:g} s", seen="longer")
        report.summary()
        if stay:
            await _stay(report, controller, url, signed)
        nursery.cancel_scope.cancel()


async def _start_gateway(
    nursery: trio.Nursery, controller: StandInController, signed: SelfSigned
) -> str:
    """Start the gateway as ``run --controller`` would, with quicker pings; return its URL."""
    config = for_single_controller(
        controller.url,
        listen=f"{HOST}:0",
        certificate=signed.certificate,
        key=signed.key,
        state_dir=signed.certificate.parent,
    )
    # In real life a ping every 20 s is enough; nobody wants to watch that.
    keepalive = KeepaliveConfig(interval=1.0, suspect_after=5.0, dead_after=30.0)
    config = config.model_copy(
        update={
            "agents": AgentsConfig(keepalive=keepalive),
            "log": LogConfig(access=AccessLogConfig(to="off")),
        }
    )
    bound = [
        BoundListener(listener, trio.socket.from_stdlib_socket(bind(listener)))
        for listener in config.listeners
    ]
    await nursery.start(serve, bound, config)
    return f"https://{HOST}:{bound[0].port}/"


class _Story:
    """The steps, in order; each says what happens and checks what came of it."""

    def __init__(
        self, report: Report, controller: StandInController, url: str, signed: SelfSigned
    ) -> None:
        self._report = report
        self._controller = controller
        self._url = url
        self._signed = signed
        self._tls = trusting(signed.certificate)
        self._pinged = trio.Event()

    async def tell(self) -> None:
        self._introduce()
        async with trio.open_nursery() as nursery:
            both = await self._handshake(nursery)
            if both is not None:
                agent, controller = both
                self._capabilities(agent, controller)
                await self._transfer(agent, controller)
                await self._keep_alive(agent)
                await self._refusals(nursery)
                await self._impostor(nursery)
                await self._orderly_end(agent, controller)
            nursery.cancel_scope.cancel()

    def _introduce(self) -> None:
        report, controller = self._report, self._controller
        report.heading("Three parties on this machine")
        report.line("controller", f"a stand-in for Jenkins: {controller.url}")
        port = controller.agent_address[1]
        report.line("controller", f"agents must use its TCP agent port {port} (JNLP4-connect)")
        report.line("gateway", f"{self._url} in front of it; this is the real program")
        report.line("gateway", f"certificate SHA-256 {self._signed.fingerprint}")
        report.line("agent", "a stand-in for agent.jar -webSocket, given the gateway's URL only")

    async def _handshake(self, nursery: trio.Nursery) -> tuple[AgentChannel, StandInChannel] | None:
        report, controller = self._report, self._controller
        report.heading("Handshake")
        agent = self._agent(NODE, controller.secret(NODE))
        ready = await agent.login()
        report.check("GET /login", expected=200, seen=_status(ready))
        found = await agent.connect(nursery)
        report.check("upgrade of a good agent", expected=101, seen=_status(found))
        if not isinstance(found, AgentChannel):
            return None
        far: StandInChannel | None = None
        with trio.move_on_after(STEP_TIMEOUT):
            far = await controller.wait_for_channel(NODE)
        if far is None:
            report.check("channel at the controller", expected="open", seen="none")
            return None
        attempt = controller.attempts[-1]
        report.line(
            "controller", f"{NODE} came over {attempt.tls_version}, verdict {attempt.verdict}"
        )
        report.check(
            "TCP agent port's view",
            expected=f"JNLP4-connect {NODE} OK OK",
            seen=f"{attempt.protocol} {far.node} {attempt.verdict} {attempt.peer_verdict}",
        )
        report.check(
            "cookie is the controller's own", expected=True, seen=agent.cookie == far.cookie
        )
        return found, far

    def _capabilities(self, agent: AgentChannel, controller: StandInChannel) -> None:
        report = self._report
        report.heading("Capabilities, each side's own, handed to the other")
        seen = [hex(capability_mask(end.peer_capability)) for end in (agent, controller)]
        report.line("agent", f"sees the controller's {seen[0]}")
        report.line("controller", f"sees the agent's {seen[1]}")
        report.check("capability at the agent", expected=hex(CONTROLLER_MASK), seen=seen[0])
        report.check("capability at the controller", expected=hex(AGENT_MASK), seen=seen[1])

    async def _transfer(self, agent: AgentChannel, controller: StandInChannel) -> None:
        report = self._report
        report.heading("Commands both ways at once, opaque to the gateway")
        random = Random(4)  # repeatable
        up, down = (
            [COMMAND_START + random.randbytes(size) for size in _PAYLOADS] for _ in range(2)
        )
        arrived_up: list[bytes] = []
        arrived_down: list[bytes] = []
        with trio.move_on_after(STEP_TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, agent, up)
                nursery.start_soon(_send_all, controller, down)
                nursery.start_soon(_receive, controller, len(up), arrived_up)
                nursery.start_soon(_receive, agent, len(down), arrived_down)
        report.line("agent", f"sent {_describe(up)}")
        report.line("controller", f"received {_describe(arrived_up)}")
        report.line("controller", f"sent {_describe(down)}")
        chunks, messages = agent.counters.chunks_received, agent.messages.received
        report.line("agent", f"received {_describe(arrived_down)}")
        report.line("agent", f"that was {chunks} chunks in {messages} WebSocket messages")
        report.check("agent to controller", expected=_describe(up), seen=_describe(arrived_up))
        report.check("controller to agent", expected=_describe(down), seen=_describe(arrived_down))
        for name, sender, receiver in (
            ("chunks to the controller", agent, controller),
            ("chunks to the agent", controller, agent),
        ):
            sent, received = sender.counters, receiver.counters
            report.check(
                name,
                expected=f"{sent.chunks_sent} ({sent.bytes_sent} bytes)",
                seen=f"{received.chunks_received} ({received.bytes_received} bytes)",
            )
        report.check("messages cut inside a chunk", expected=0, seen=agent.messages.cut_chunks)

    async def _keep_alive(self, agent: AgentChannel) -> None:
        report = self._report
        report.heading("Silence")
        self._pinged = trio.Event()
        with trio.move_on_after(STEP_TIMEOUT):
            await self._pinged.wait()
        report.line("gateway", "pings, so that no proxy on the way takes the session for idle")
        report.line("agent", f"answers ({agent.messages.pings} so far)")
        report.check("keep-alive ping", expected="seen", seen=_seen(self._pinged.is_set()))

    async def _refusals(self, nursery: trio.Nursery) -> None:
        report, controller = self._report, self._controller
        report.heading("Agents that are refused get an honest status before any 101")
        for what, node, secret, expected in (
            ("unknown node", "no-such-agent", "0" * 64, "400 no such agent"),
            (
                "node that is not inbound",
                OUTBOUND_NODE,
                controller.secret(OUTBOUND_NODE),
                f"400 {OUTBOUND_NODE} is not an inbound agent",
            ),
            ("wrong secret", NODE, "0" * 64, "403 not authorized"),
        ):
            found = await self._agent(node, secret).connect(nursery)
            report.check(what, expected=expected, seen=_refusal(found))
            identified = isinstance(found, Answer) and bool(found.header("X-Gateway-Error-Id"))
            report.check(f"{what}: id for the log", expected="seen", seen=_seen(identified))

    async def _impostor(self, nursery: trio.Nursery) -> None:
        report, controller = self._report, self._controller
        report.heading("Somebody else answers at the controller's address")
        controller.faults = Faults({Stage.TLS: UseIdentity(InstanceIdentity())})
        agent = self._agent(FREE_NODE, controller.secret(FREE_NODE))
        found = await agent.connect(nursery)
        controller.faults = Faults()
        attempt = controller.attempts[-1]
        with trio.move_on_after(STEP_TIMEOUT):
            await attempt.finished.wait()
        report.line("controller", f"got {attempt.received} bytes inside TLS: no secret")
        report.check("another key", expected="502", seen=_status(found))
        report.check("bytes sent to an impostor", expected=0, seen=attempt.received)

    async def _orderly_end(self, agent: AgentChannel, controller: StandInChannel) -> None:
        report = self._report
        report.heading("An orderly end")
        report.check("the good agent meanwhile", expected="connected", seen=_state(agent))
        with trio.move_on_after(STEP_TIMEOUT), suppress(trio.EndOfChannel, ConnectionEnded):
            report.line("agent", "sends its CloseCommand")
            await agent.send_command(CLOSE_COMMAND)
            arrived = await controller.receive_command() == CLOSE_COMMAND
            report.check("CloseCommand at the controller", expected=True, seen=arrived)
            report.line("controller", "answers with its own and closes, as Java does: a bare EOF")
            await controller.close()
            answered = await agent.receive_command() == CLOSE_COMMAND
            report.check("CloseCommand at the agent", expected=True, seen=answered)
            await agent.ended.wait()
        report.line("gateway", f"ends the agent's leg: {_state(agent)}")
        report.check("end at the agent", expected="WebSocket Close 1000", seen=_state(agent))

    def _agent(self, node: str, secret: str) -> SimulatedAgent:
        return SimulatedAgent(
            self._url,
            node,
            secret,
            tls=self._tls,
            capability=capability_ascii(AGENT_MASK),
            observe=self._observe,
        )

    def _observe(self, step: Step) -> None:
        if step.kind is StepKind.PING:
            self._pinged.set()
        if step.answer is None:
            if step.kind in (StepKind.PROBE, StepKind.UPGRADE, StepKind.FAILURE):
                self._report.line("agent", step.text)
            return
        self._report.line("gateway", f"answers {step.text}")
        for name, value in step.answer.headers:
            if name.lower().startswith(("x-remoting-", "x-gateway-")):
                self._report.line("gateway", f"  {name}: {value}")
            elif name.lower() == "connection-cookie":
                self._report.line("gateway", f"  {name}: ({len(value)} characters)")


async def _send_all(channel: CommandChannel, commands: Sequence[bytes]) -> None:
    with suppress(ConnectionEnded):
        for payload in commands:
            await channel.send_command(payload)


async def _receive(channel: CommandChannel, count: int, into: list[bytes]) -> None:
    with suppress(trio.EndOfChannel):
        while len(into) < count:
            into.append(await channel.receive_command())


def _describe(commands: Sequence[bytes]) -> str:
    digest = hashlib.sha256(b"".join(commands)).hexdigest()[:12]
    return f"{len(commands)} commands, {sum(map(len, commands)):,} bytes, SHA-256 {digest}.."


def _status(found: Attempted) -> str:
    match found:
        case AgentChannel():
            return "101"
        case Answer(status=status):
            return str(status)
        case MustStop(minimum=minimum):
            return f"minimum version {minimum}"
        case _:
            return found.reason


def _refusal(found: Attempted) -> str:
    text = found.header("X-Gateway-Error") if isinstance(found, Answer) else None
    return _status(found) if text is None else f"{_status(found)} {text}"


def _state(channel: AgentChannel) -> str:
    if channel.end is None:
        return "connected"
    code = "" if channel.close_code is None else f" {channel.close_code}"
    return f"{channel.end.value}{code}"


def _seen(thing: object) -> str:
    return "seen" if thing else "not seen"


class _Visitors:
    """What the controller does with a channel: nothing in the story, and tell of real agents."""

    def __init__(self, report: Report) -> None:
        self._report = report

    async def __call__(self, channel: CommandChannel) -> None:
        """Watch one channel."""
        if channel.node != FREE_NODE:
            return
        self._report.line("controller", f"{channel.node} is connected")
        await sink(channel)
        how = channel.end.value if channel.end is not None else "cut"
        self._report.line("controller", f"{channel.node} has left: {how}")


async def _stay(
    report: Report, controller: StandInController, url: str, signed: SelfSigned
) -> None:
    """Keep everything running until SIGINT or SIGTERM."""
    configure()
    report.heading("Still running: connect a real agent, in another terminal")
    report.text(
        f"\n  java -jar agent.jar -url {url} -webSocket -name {FREE_NODE}"
        f" -secret {controller.secret(FREE_NODE)}"
        f' -cert "$(cat {shlex.quote(str(signed.certificate))})"\n'
    )
    report.text("The secrets of the stand-in's nodes are made up and forgotten with it:")
    for node in controller.nodes:
        report.text(f"  {node:<12} {controller.secret(node)}")
    report.text("\nIts commands are not Java's: a real agent connects and stays, but gets no work.")
    report.text("Press Ctrl-C to stop.\n")
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _signal in signals:
            break
