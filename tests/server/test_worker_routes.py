"""Routes over real listeners, plain and TLS: sets, the edge, redirects, PROXY headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import echo
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.identity import InstanceIdentity
from gateway.protocol.proxy_protocol import Endpoint, write_proxy_header
from tests.certificates import client_context
from tests.peers.raw_client import Answer, RawClient
from tests.peers.raw_origin import RawOrigin, answering
from tests.server.workers import HOST, Worker, make_config, running_worker

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NODE = "linux-1"
JAVA = b"User-Agent: Java/17\r\n"
TRANSPORTS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Served:
    """A worker, the origin behind it, and connections to both of its listeners."""

    def __init__(self, worker: Worker, origin: RawOrigin) -> None:
        self.worker = worker
        self.origin = origin
        self._context = client_context()  # loading the system's authorities takes long

    @asynccontextmanager
    async def client(self, *, tls: bool, hello: bytes = b"") -> AsyncIterator[RawClient]:
        """Connect; ``hello`` goes before everything else, TLS included."""
        port = self.worker.tls if tls else self.worker.plain
        stream: trio.abc.Stream = await trio.open_tcp_stream(HOST, port)
        await stream.send_all(hello)
        if tls:
            stream = trio.SSLStream(
                stream, self._context, server_hostname=HOST, https_compatible=True
            )
        async with RawClient(stream) as client:
            yield client

    async def ask(
        self,
        target: str,
        *,
        tls: bool = False,
        host: str = "ci.example.com",
        fields: bytes = b"",
        method: str = "GET",
        hello: bytes = b"",
    ) -> Answer:
        """Send one request on a connection of its own."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode()
        async with self.client(tls=tls, hello=hello) as client:
            return await client.ask(head + fields + b"\r\n")

    @property
    def lines(self) -> list[bytes]:
        """The request lines that reached the controller."""
        return [request.line for request in self.origin.requests]


@asynccontextmanager
async def serving(
    folder: Path, *routes: dict[str, Any], prefix: str = "", **more: Any
) -> AsyncIterator[Served]:
    origin = RawOrigin(answering(OK))
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        config = make_config(
            folder,
            f"http://{HOST}:{origin.port}{prefix}/",
            routes=[{"id": f"r{i}", "controller": "main", **r} for i, r in enumerate(routes)],
            **more,
        )
        async with running_worker(config) as worker:
            yield Served(worker, origin)
        nursery.cancel_scope.cancel()


# -- sets and spellings ----------------------------------------------------------------------------

MEMBERS = {
    "agents": ["/jnlpJars/agent.jar", "/tcpSlaveAgentListener/"],
    "cli": ["/cli", "/cli/ws", "/jnlpJars/jenkins-cli.jar"],
    "ui": ["/", "/script", "/job/a%2Fb/", "/static/0123/a.css"],
}
SPELLINGS = [
    "//{}",
    "/./{}",
    "/x/../{}",
    "/x/..;/{}",
    "/;x/{}",
    "/\\{}",
    "/x\\..\\{}",
    "/%2F{}",
    "/%5C{}",
    "/%2e/{}",
    "/x/%2e%2e/{}",
    "/x%2F..%2F{}",
    "/static/x/{}",
    "/static//x/{}",
    "/%73tatic/x/{}",
]


def encode_first(name: str) -> str:
    return f"/%{ord(name[0]):02x}{name[1:]}"


@TRANSPORTS
@pytest.mark.parametrize(
    "exposed",
    [["all"], ["ui"], ["cli"], ["agents", "cli"], ["ui", "agents"]],
    ids="+".join,
)
async def test_sets(tmp_path: Path, exposed: list[str], *, tls: bool) -> None:
    async with serving(tmp_path, {"expose": exposed}) as it:
        for name, targets in MEMBERS.items():
            for target in targets:
                answer = await it.ask(target, tls=tls)
                allowed = name in exposed or exposed == ["all"]
                assert answer.status == (200 if allowed else 404), target
                assert (f"GET {target} HTTP/1.1".encode() in it.lines) is allowed


@TRANSPORTS
@pytest.mark.parametrize(
    ("exposed", "hidden"),
    [
        (["all"], ["wsagents/"]),
        (["ui"], ["wsagents/", "cli", "cli/ws", "jnlpJars/agent.jar", "tcpSlaveAgentListener/"]),
        (["cli"], ["wsagents/", "script", "job/x"]),
        (["agents", "cli"], ["script", "job/x"]),
        ([{"paths": ["/hook"]}], ["wsagents/", "cli", "script"]),
        (["agents"], ["cli", "script", "jnlpJars/agent.jar", "tcpSlaveAgentListener/"]),
    ],
)
async def test_no_spelling_gets_past_a_set(
    tmp_path: Path, exposed: list[Any], hidden: list[str], *, tls: bool
) -> None:
    async with serving(tmp_path, {"expose": exposed}) as it:
        for name in hidden:
            for spelling in SPELLINGS:
                answer = await it.ask(spelling.format(name), tls=tls)
                assert answer.status in {400, 404}, spelling.format(name)
            assert (await it.ask(encode_first(name), tls=tls)).status in {400, 404}
            assert (await it.ask(f"/{name};x", tls=tls)).status in {400, 404}
        assert it.lines == []


@TRANSPORTS
async def test_wsagents_under_each_set(tmp_path: Path, *, tls: bool) -> None:
    """The endpoint's own refusal shows that it was reached."""
    routes = [
        {"host": f"{name}.example.com", "expose": [name]} for name in ("all", "ui", "agents", "cli")
    ]
    async with serving(tmp_path, *routes) as it:
        for name, expected in (("all", 400), ("agents", 400), ("ui", 404), ("cli", 404)):
            host = f"{name}.example.com"
            fields = b"Connection-Cookie: 0123ab\r\n"
            answer = await it.ask("/wsagents/", tls=tls, host=host, fields=fields)
            assert answer.status == expected
            assert answer.get(b"connection-cookie") == b"0123ab"


async def test_networks(tmp_path: Path) -> None:
    far = {"allow_from": ["10.0.0.0/8"]}
    async with serving(
        tmp_path,
        {"host": "a", "expose": ["all", {"set": "cli", **far}]},
        {"host": "b", **far},
        trusted_proxies=["127.0.0.1"],
    ) as it:
        assert (await it.ask("/", host="a")).status == 200
        refused = await it.ask("/cli", host="a")
        assert (refused.status, refused.body) == (403, b"")
        assert refused.get(b"x-gateway-error") == b"not authorized"
        assert (await it.ask("/", host="b")).status == 403
        near = b"X-Forwarded-For: 10.1.2.3\r\n"
        assert (await it.ask("/cli", host="a", fields=near)).status == 200
        assert (await it.ask("/", host="b", fields=near)).status == 200


async def test_hosts(tmp_path: Path) -> None:
    async with serving(
        tmp_path,
        {"host": "ci.example.com", "expose": [{"paths": ["/exact"]}]},
        {"host": "*.example.com", "expose": [{"paths": ["/wild"]}]},
        {"host": "*.b.example.com", "expose": [{"paths": ["/longer"]}]},
    ) as it:
        for host, target in (
            ("ci.example.com", "/exact"),
            ("CI.Example.com:8443", "/exact"),
            ("a.example.com", "/wild"),
            ("x.a.example.com.", "/wild"),
            ("b.example.com", "/wild"),
            ("a.b.example.com", "/longer"),
        ):
            assert (await it.ask(target, host=host)).status == 200, host
            assert (await it.ask("/other", host=host)).status == 404, host
        for host in ("example.com", "xexample.com", ".example.com", "example.com.evil"):
            assert (await it.ask("/wild", host=host)).status in {400, 421}, host


# -- the edge --------------------------------------------------------------------------------------


@TRANSPORTS
async def test_the_edge_shows_no_page_of_jenkins(tmp_path: Path, *, tls: bool) -> None:
    route = {"expose": ["agents"], "path": "/team"}
    async with serving(tmp_path, route, prefix="/ci") as it:
        for fields in (JAVA, b"User-Agent: Mozilla/5.0\r\n", b"Cookie: a=b\r\n"):
            answer = await it.ask("/team/login", tls=tls, fields=fields)
            assert answer.status == 503  # the origin is no Jenkins with an agent port
            assert answer.get(b"x-gateway-error") == b"the controller is not ready for agents"
        it.origin.requests.clear()
        for target in ("/team/", "/team/cli", "/team/tcpSlaveAgentListener/", "/", "/ci/login"):
            assert (await it.ask(target, tls=tls)).status == 404
        assert it.lines == []
        answer = await it.ask("/team/jnlpJars/agent.jar?v=1", tls=tls)
        assert (answer.status, answer.body) == (200, b"ok")
        assert it.lines == [b"GET /ci/jnlpJars/agent.jar?v=1 HTTP/1.1"]


async def test_agents_of_several_root_controllers_share_a_host(tmp_path: Path) -> None:
    """Each with a path that its controller knows nothing of."""
    identity = InstanceIdentity()
    one, other = (
        StandInController({NODE: INBOUND}, identity=identity, on_channel=echo) for _ in range(2)
    )
    async with trio.open_nursery() as nursery:
        controllers = {}
        for name, controller in (("one", one), ("other", other)):
            await nursery.start(controller.run)
            controllers[name] = {"url": controller.url}
        routes = [
            {"id": name, "controller": name, "path": f"/{name}", "expose": ["agents"]}
            for name in controllers
        ]
        config = make_config(tmp_path, controllers=controllers, routes=routes)
        async with running_worker(config) as worker:
            for name, controller in (("one", one), ("other", other)):
                agent = SimulatedAgent(
                    f"https://{HOST}:{worker.tls}/{name}/",
                    NODE,
                    controller.secret(NODE),
                    tls=client_context(),
                )
                channel = await agent.connect(nursery)
                assert isinstance(channel, AgentChannel)
                await channel.send_command(b"ping")
                assert await channel.receive_command() == b"ping"
                sessions = [each for each in controller.attempts if each.protocol != "Ping"]
                assert len(sessions) == 1
        nursery.cancel_scope.cancel()


# -- redirects -------------------------------------------------------------------------------------


def listeners(folder: Path, **plain: Any) -> list[Any]:
    made = make_config(folder).model_dump(mode="json")["listeners"]
    return [{**made[0], **plain}, made[1]]


@pytest.mark.parametrize(
    ("port", "host", "target", "location"),
    [
        (True, "ci.example.com", "/a?b=c", b"https://ci.example.com/a?b=c"),
        (True, "ci.example.com:8080", "/", b"https://ci.example.com/"),
        (8443, "ci.example.com:8080", "/a%2Fb//c", b"https://ci.example.com:8443/a%2Fb//c"),
        (8443, "[::1]:8080", "/", b"https://[::1]:8443/"),
        (True, "ci.example.com", "//evil.example/", b"https://ci.example.com//evil.example/"),
        (True, "ci.example.com", "/login", b"https://ci.example.com/login"),
        (True, "ci.example.com", "/cli", b"https://ci.example.com/cli"),
    ],
)
async def test_people_are_sent_to_https(
    tmp_path: Path, port: object, host: str, target: str, location: bytes
) -> None:
    made = listeners(tmp_path, redirect_to_https=port)
    async with serving(tmp_path, {}, listeners=made) as it:
        for method in ("GET", "POST"):
            answer = await it.ask(target, host=host, method=method)
            assert answer.status == 308
            assert answer.get(b"location") == location
        assert it.lines == []
        assert (await it.ask(target, host=host, tls=True)).status == 200


async def test_agents_are_not(tmp_path: Path) -> None:
    made = listeners(tmp_path, redirect_to_https=True)
    async with serving(tmp_path, {}, {"host": "edge", "expose": ["agents"]}, listeners=made) as it:
        assert (await it.ask("/wsagents/")).status == 400
        assert (await it.ask("/login", fields=JAVA)).status == 503
        assert (await it.ask("/tcpSlaveAgentListener/", fields=JAVA)).status == 200
        assert (await it.ask("/jnlpJars/agent.jar")).status == 200
        assert (await it.ask("/computer/a/jenkins-agent.jnlp")).status == 200
        assert (await it.ask("/login", host="edge")).status == 503


async def test_what_came_over_https_is_not_sent_there(tmp_path: Path) -> None:
    made = listeners(tmp_path, redirect_to_https=True)
    async with serving(tmp_path, {}, listeners=made, trusted_proxies=["127.0.0.1"]) as it:
        assert (await it.ask("/", fields=b"X-Forwarded-Proto: https\r\n")).status == 200
        answer = await it.ask(
            "/", fields=b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: public.example\r\n"
        )
        assert answer.get(b"location") == b"https://public.example/"
    async with serving(tmp_path, {}, listeners=made) as it:
        answer = await it.ask("/", fields=b"X-Forwarded-Proto: https\r\n")
        assert answer.status == 308  # anybody can say that


async def test_without_a_host_nobody_knows_where(tmp_path: Path) -> None:
    made = listeners(tmp_path, redirect_to_https=True)
    async with serving(tmp_path, {}, listeners=made) as it:
        async with it.client(tls=False) as client:
            answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.get(b"x-gateway-error")) == (400, b"use https")


# -- the PROXY protocol ----------------------------------------------------------------------------


def hello(host: str) -> bytes:
    return write_proxy_header(Endpoint(host, 51000), Endpoint("198.51.100.1", 443))


@TRANSPORTS
async def test_the_address_of_a_proxy_header_is_the_peers(tmp_path: Path, *, tls: bool) -> None:
    made = [{**one, "proxy_protocol": "required"} for one in listeners(tmp_path)]
    async with serving(
        tmp_path, {"allow_from": ["192.0.2.0/24"]}, listeners=made, trusted_proxies=["127.0.0.1"]
    ) as it:
        lie = b"X-Forwarded-For: 192.0.2.9\r\n"
        answer = await it.ask("/", tls=tls, hello=hello("192.0.2.7"), fields=lie)
        assert answer.status == 200
        assert it.origin.requests[0].get(b"x-forwarded-for") == b"192.0.2.7"
        refused = await it.ask("/", tls=tls, hello=hello("203.0.113.5"), fields=lie)
        assert refused.status == 403
        unknown = await it.ask("/", tls=tls, hello=b"PROXY UNKNOWN\r\n", fields=lie)
        assert unknown.status == 403


async def test_whom_a_trusted_proxy_does_not_know_does_not_borrow_its_trust(tmp_path: Path) -> None:
    route = {"allow_from": ["127.0.0.0/8", "192.0.2.0/24"]}
    async with serving(tmp_path, route, trusted_proxies=["127.0.0.1"]) as it:
        for said in (b"unknown", b"unix:", b"_a, 127.0.0.1", b"192.0.2.9, <x>", b"", b"fe80::1%a"):
            answer = await it.ask("/", fields=b"X-Forwarded-For: %b\r\n" % said)
            assert answer.status == 403, said
        for said in (b"192.0.2.9", b"::ffff:192.0.2.9", b"[::ffff:192.0.2.9]:1, ::ffff:127.0.0.1"):
            answer = await it.ask("/", fields=b"X-Forwarded-For: %b\r\n" % said)
            assert answer.status == 200, said
            told = it.origin.requests[-1].get(b"x-forwarded-for") or b""
            assert told.split(b", ")[0] == b"192.0.2.9"
        assert (await it.ask("/")).status == 200  # its own


@pytest.mark.parametrize("named", [[], ["X-Forwarded-User"]])
async def test_a_log_in_by_header_has_to_be_named(tmp_path: Path, named: list[str]) -> None:
    """Else whoever comes through a trusted proxy logs in as anybody."""
    said = b"X-Forwarded-User: admin\r\nX-Forwarded-Groups: admins\r\nX-Proxied-Https: on\r\n"
    async with serving(
        tmp_path, {}, trusted_proxies=["127.0.0.1"], trusted_proxy_headers=named
    ) as it:
        assert (await it.ask("/", fields=said)).status == 200
        (request,) = it.origin.requests
        assert request.get(b"x-forwarded-user") == (b"admin" if named else None)
        assert request.get(b"x-forwarded-groups") is None
        assert request.get(b"x-proxied-https") is None
    async with serving(tmp_path, {}, trusted_proxy_headers=named) as it:
        assert (await it.ask("/", fields=said)).status == 200
        assert it.origin.requests[0].get(b"x-forwarded-user") is None


async def test_plain_agents_behind_a_proxy_header(tmp_path: Path) -> None:
    fields = b"Node-Name: a\r\nSecret-Key: b\r\nX-Remoting-Capability: AAAA\r\n"
    for plain_agents, expected in ((False, b"use https"), (True, b"only WS connections")):
        made = listeners(tmp_path, proxy_protocol="required", plain_agents=plain_agents)
        async with serving(tmp_path, {}, listeners=made, trusted_proxies=["127.0.0.1"]) as it:
            for greeting in (hello("192.0.2.7"), b"PROXY UNKNOWN\r\n"):
                answer = await it.ask("/wsagents/", hello=greeting, fields=fields)
                assert answer.status == 400
                assert (answer.get(b"x-gateway-error") or b"").startswith(expected)
