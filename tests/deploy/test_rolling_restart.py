"""The rehearsal without a cluster: a rolling restart behind an ingress, under load.

Addresses of loopback stand for machines. The ingress is real nginx with the example's settings, the
replicas are whole gateways that run, are probed and end as the example's pods, the controllers and
the fifty agents are stand-ins that share no code with the gateway. Pods are replaced as a
Deployment with ``maxUnavailable: 0, maxSurge: 1`` does: a new one is started, its endpoint is added
when it is ready, then an old one is told to end, and the ingress hears of that a little later.

By hand, with what happens when: ``./dev test tests/deploy/test_rolling_restart.py -s``
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from gateway.demo.agent import SimulatedAgent, Step, StepKind
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.controller import INBOUND, StandInController
from tests import certificates
from tests.deploy.rehearsal import shipped
from tests.deploy.rehearsal.ingress import Ingress, ingress_on
from tests.deploy.rehearsal.replicas import Replica, Replicas, replicas_in
from tests.deploy.rehearsal.visitors import Request, Visitors
from tests.gateway_process import Line
from tests.peers.conversation import Conversation, End

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

AGENTS: Final = 50
RATE: Final = 10.0  # visitors a second
NOTICED_AFTER: Final = 2.0  # seconds from a pod's SIGTERM until the ingress hears of it
# An answer takes milliseconds. What waited for longer when its session ended was lost before.
UNDER_WAY: Final = 5.0
INGRESS: Final = "127.0.1.1"
# A new pod has a new address.
PODS: Final = ("127.0.1.11", "127.0.1.12", "127.0.1.13", "127.0.1.14")
CONTROLLERS: Final = {"team-a": "127.0.1.21", "team-b": "127.0.1.22"}
# Where connections to addresses of loopback come from: the ingress', as the pods see them.
HERE: Final = "127.0.0.1"
DRAINED: Final = "the gateway is shutting down, try again"
AGENT, CONTROLLER = "agent", "controller"


def free_port(host: str) -> int:
    """Return a port of an address that nothing listens on."""
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


class Names(trio.abc.HostnameResolver):
    """The one name there is leads to the ingress."""

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Return the ingress' address for its name; there is no other name."""
        assert host in (shipped.HOST, shipped.HOST.encode()), host
        return socket.getaddrinfo(INGRESS, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Fail: addresses are not looked up."""
        raise AssertionError(sockaddr)


class Story:
    """What tells, with ``-s``, and what agents have met besides channels."""

    def __init__(self) -> None:
        self._began = trio.current_time()
        self.refusals: list[str] = []

    def say(self, text: str) -> None:
        """Print what happens, and when."""
        print(f"{trio.current_time() - self._began:5.1f} s  {text}", flush=True)

    def observe(self, node: str, step: Step) -> None:
        """Keep what an agent would have to wait out."""
        refused = step.answer is not None and step.answer.status not in (101, 200)
        if refused or step.kind is StepKind.FAILURE:
            self.refusals.append(f"{node}: {step.text}")


class Site:
    """Everything behind and before the gateway."""

    def __init__(self, story: Story, ingress: Ingress, port: int, replicas: Replicas) -> None:
        self.story = story
        self.ingress = ingress
        self.port = port
        self.replicas = replicas
        self.controllers: dict[str, StandInController] = {}
        self.talks = {name: Conversation() for name in CONTROLLERS}
        self._serving: dict[str, Replica] = {}
        self._addresses = list(PODS)

    async def start_controllers(self, nursery: trio.Nursery) -> None:
        """Start both; agent number n is a node of one or the other."""
        for index, (name, host) in enumerate(CONTROLLERS.items()):
            nodes = {f"agent-{n}": INBOUND for n in range(index, AGENTS, len(CONTROLLERS))}
            controller = StandInController(
                nodes,
                prefix=f"/{name}",
                on_channel=self.talks[name].behaviour(CONTROLLER, AGENT),
            )
            await nursery.start(partial(controller.run, host=host))
            self.controllers[name] = controller

    def start_agents(self, nursery: trio.Nursery) -> None:
        """Start all fifty, which come back by themselves for ever, as agent.jar does."""
        for name, controller in self.controllers.items():
            for node in controller.nodes:
                agent = SimulatedAgent(
                    f"https://{shipped.HOST}:{self.port}/{name}/",
                    node,
                    controller.secret(node),
                    tls=certificates.client_context(),
                    observe=partial(self.story.observe, node),
                )
                nursery.start_soon(agent.run, self.talks[name].behaviour(AGENT, CONTROLLER))

    async def add_replica(self) -> None:
        """Start one; once it is ready, it is an endpoint."""
        host = self._addresses.pop(0)
        address = f"{host}:{free_port(host)}"
        replica = self.replicas.add(f"pod-{len(self.replicas.all) + 1}")
        ports = {
            name: (each.url, f"{each.agent_address[0]}:{each.agent_address[1]}")
            for name, each in self.controllers.items()
        }
        await replica.start(shipped.gateway_config(address, HERE, ports))
        self._serving[address] = replica
        self.story.say(f"{replica.name} is ready")

    async def tell_the_ingress(self) -> None:
        """Have nginx serve by the endpoints that there are now."""
        await self.ingress.send_to(list(self._serving))

    async def start_ingress(self) -> None:
        """Start nginx with the endpoints that there are."""
        await self.ingress.start(list(self._serving))

    async def replace_the_oldest(self) -> None:
        """Replace a pod as a rolling update does."""
        await self.add_replica()
        await self.tell_the_ingress()
        address, replica = next(iter(self._serving.items()))
        replica.terminate()
        await trio.sleep(NOTICED_AFTER)
        del self._serving[address]
        await self.tell_the_ingress()
        self.story.say(f"{replica.name} was told to end, and is no endpoint any more")
        await replica.wait_for_the_end()
        self.story.say(f"{replica.name} has ended")

    async def wait_until_all_answer(self) -> None:
        """Wait until each agent is on, and both ends have had answers to two new questions."""
        with trio.fail_after(60):
            for controller in self.controllers.values():
                for node in controller.nodes:
                    await controller.wait_for_channel(node)
        async with trio.open_nursery() as nursery:
            for name, controller in self.controllers.items():
                for node in controller.nodes:
                    for end in (AGENT, CONTROLLER):
                        nursery.start_soon(self.talks[name].wait_for_answers, end, node, 2)
        self.story.say(f"all {AGENTS} are on and answer")

    async def settle(self) -> None:
        """Let everything that is under way arrive."""
        for talk in self.talks.values():
            talk.fall_silent()
        for talk in self.talks.values():
            await talk.wait_until_settled()


@asynccontextmanager
async def site_in(folder: Path) -> AsyncIterator[Site]:
    """Have two replicas, nginx, both controllers and all agents for the block."""
    trio.socket.set_custom_hostname_resolver(Names())
    story, pod = Story(), shipped.pod()
    pair = certificates.write(folder, shipped.HOST)
    port = free_port(INGRESS)

    def server(endpoints: Sequence[str]) -> str:
        return shipped.nginx_server(f"{INGRESS}:{port}", endpoints, pair)

    async with (
        ingress_on(folder / "ingress", (INGRESS, port), server) as ingress,
        replicas_in(folder, pod) as replicas,
        trio.open_nursery() as nursery,
    ):
        site = Site(story, ingress, port, replicas)
        await site.start_controllers(nursery)
        for _ in range(pod.replicas):
            await site.add_replica()
        await site.start_ingress()
        site.start_agents(nursery)
        yield site
        nursery.cancel_scope.cancel()


def visitors_of(site: Site) -> Visitors:
    """Return people who look at pages and scripts that post, at both controllers."""
    requests = [
        request
        for name in CONTROLLERS
        for request in (
            Request(f"GET /{name}/login", b"", 200, b"A stand-in for Jenkins."),
            # Not to be repeated by anybody: there is no such job, says the controller.
            Request(f"POST /{name}/job/x/build", b"delay=0" * 500, 404, b"Not Found\n"),
        )
    ]
    return Visitors((INGRESS, site.port), shipped.HOST, certificates.client_context(), requests)


def pairs_of(talk: Conversation) -> list[tuple[End, End]]:
    """Return both ends of each session, agent's first: they have a cookie in common."""
    ends = {(end.name, end.channel.node, end.channel.cookie): end for end in talk.ends}
    assert len(ends) == len(talk.ends)
    assert len(ends) % 2 == 0, "a session that only one end knows of"
    return [
        (end, ends[CONTROLLER, node, cookie])
        for (name, node, cookie), end in ends.items()
        if name == AGENT
    ]


def account(site: Site) -> Counter[str]:
    """Check every session: nothing is lost but what was under way when it was drained."""
    found: Counter[str] = Counter()
    for talk in site.talks.values():
        for agent, controller in pairs_of(talk):
            assert agent.is_open == controller.is_open
            assert isinstance(agent.channel, AgentChannel)
            assert agent.channel.close_code == (None if agent.is_open else 1012)
            for asking, hearing in ((agent, controller), (controller, agent)):
                assert asking.asked >= hearing.heard >= asking.answered
                lost = asking.asked - asking.answered
                assert lost == 0 or not asking.is_open, f"{asking.channel.node}: {lost}"
                assert asking.waited < UNDER_WAY, f"{asking.channel.node} had stood still before"
                found["questions answered"] += asking.answered
                found["questions or answers cut off by a drain"] += lost
            found["sessions that live" if agent.is_open else "sessions drained"] += 1
    return found


def check_log(replica: Replica, *, was_replaced: bool) -> list[Line]:
    """Check that a replica ended sessions only by draining, and refused nobody; return the ends."""
    assert replica.log.problems() == []
    assert replica.log.find("request refused") == []
    ends = replica.log.find("session ended")
    assert bool(ends) == was_replaced, replica.name
    assert {(end["by"], end["reason"], end["close_code"]) for end in ends} <= {
        ("gateway", DRAINED, 1012)
    }
    started = replica.log.find("session started")
    if was_replaced:
        assert sorted(each["session"] for each in started) == sorted(e["session"] for e in ends)
    assert [line for line in replica.access.lines if line["http.response.status_code"] >= 500] == []
    return ends


async def test_a_rolling_restart_loses_nothing_but_what_drain_allows(tmp_path: Path) -> None:
    pod = shipped.pod()
    assert pod.replicas == 2
    assert pod.strategy == {"maxUnavailable": 0, "maxSurge": 1}, "this is rehearsed here"
    async with site_in(tmp_path) as site:
        await site.wait_until_all_answer()
        visitors, stopped = visitors_of(site), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visitors.run, RATE, stopped)
            for _ in range(pod.replicas):
                await site.replace_the_oldest()
            await site.wait_until_all_answer()
            stopped.set()
        await site.settle()
        found = account(site)
        site.story.say(f"visitors: {visitors.served} served, {len(visitors.failures)} failed")
        for what, count in sorted(found.items()):
            site.story.say(f"{what}: {count}")
        assert visitors.failures == []
        assert visitors.served > 100
        assert site.story.refusals == []
        assert found["sessions that live"] == AGENTS
        old, new = site.replicas.all[:2], site.replicas.all[2:]
        ends = [end for each in old for end in check_log(each, was_replaced=True)]
        assert len(ends) == found["sessions drained"] >= AGENTS
        for replica in new:
            check_log(replica, was_replaced=False)
        assert site.ingress.complaints == []
