"""The stand-in controller's HTTP port, read by http.client."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from typing import TypeVar

import pytest
import trio
import trustme

from gateway.demo.controller import StandInController
from gateway.demo.faults import Close, Faults, Say, Stage
from gateway.demo.identity import InstanceIdentity
from tests.demo.raw_client import RawClient, dialog

T = TypeVar("T")


async def ask(controller: StandInController, talk: Callable[[http.client.HTTPConnection], T]) -> T:
    """Run ``talk`` with a fresh HTTP connection in a thread."""

    def run() -> T:
        connection = http.client.HTTPConnection(*controller.http_address, timeout=10)
        try:
            return talk(connection)
        finally:
            connection.close()

    return await trio.to_thread.run_sync(run)


def get(
    target: str, method: str = "GET"
) -> Callable[[http.client.HTTPConnection], tuple[int, dict[str, str], bytes]]:
    """Return a talk of one request."""

    def talk(connection: http.client.HTTPConnection) -> tuple[int, dict[str, str], bytes]:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    return talk


@pytest.fixture
async def controller(nursery: trio.Nursery, identity: InstanceIdentity) -> StandInController:
    """A controller without a prefix."""
    stand_in = StandInController({}, identity=identity)
    await nursery.start(stand_in.run)
    return stand_in


async def test_login(controller: StandInController, identity: InstanceIdentity) -> None:
    status, headers, body = await ask(controller, get("/login"))
    assert (status, int(headers["Content-Length"])) == (200, len(body))
    assert headers["X-Jenkins"] == "2.stand-in"
    assert headers["X-Hudson"] == "1.395"
    assert headers["X-Jenkins-Session"] == controller.session_id
    assert headers["X-Instance-Identity"] == identity.header


async def test_discovery(controller: StandInController, identity: InstanceIdentity) -> None:
    status, headers, body = await ask(controller, get("/tcpSlaveAgentListener/"))
    assert (status, body.strip()) == (200, b"Jenkins")
    port = str(controller.agent_address[1])
    del headers["Content-Length"]
    assert headers == {
        "Content-Type": "text/plain;charset=UTF-8",
        "X-Hudson-JNLP-Port": port,
        "X-Jenkins-JNLP-Port": port,
        "X-Instance-Identity": identity.header,
        "X-Jenkins-Agent-Protocols": "JNLP4-connect, Ping",
        "X-Remoting-Minimum-Version": "3107.v665000b_51092",
    }


async def test_discovery_with_a_host_and_without_a_minimum(
    nursery: trio.Nursery, identity: InstanceIdentity
) -> None:
    stand_in = StandInController(
        {}, identity=identity, advertised_host="agents.example", minimum_version=None
    )
    await nursery.start(stand_in.run)
    _status, headers, _body = await ask(stand_in, get("/tcpSlaveAgentListener/"))
    assert headers["X-Jenkins-JNLP-Host"] == "agents.example"
    assert "X-Remoting-Minimum-Version" not in headers


async def test_disabled_agent_port(controller: StandInController) -> None:
    controller.advertise_agent_port = False
    assert (await ask(controller, get("/tcpSlaveAgentListener/")))[0] == 404


@pytest.mark.parametrize("target", ["/", "/other", "/wsagents/", "/jenkins/login"])
async def test_everything_else_is_not_found(controller: StandInController, target: str) -> None:
    assert (await ask(controller, get(target)))[0] == 404
    assert controller.requests[-1] == f"GET {target}"


async def test_prefix(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    stand_in = StandInController({}, identity=identity, prefix="/jenkins/")
    await nursery.start(stand_in.run)
    host, port = stand_in.http_address
    assert stand_in.url == f"http://{host}:{port}/jenkins/"
    statuses = [
        (await ask(stand_in, get(target)))[0]
        for target in (
            "/jenkins/login",
            "/jenkins/login?from=%2F",
            "/jenkins/tcpSlaveAgentListener/",
            "/login",
            "/tcpSlaveAgentListener/",
        )
    ]
    assert statuses == [200, 200, 200, 404, 404]


async def test_one_connection_many_requests(controller: StandInController) -> None:
    def talk(connection: http.client.HTTPConnection) -> list[int]:
        found = []
        for method, target in (("GET", "/login"), ("HEAD", "/login"), ("POST", "/x")):
            body = b"x" * 100_000 if method == "POST" else None
            connection.request(method, target, body=body)
            response = connection.getresponse()
            response.read()
            found.append(response.status)
        return found

    assert await ask(controller, talk) == [200, 200, 404]


async def test_what_is_not_http(controller: StandInController) -> None:
    def talk(client: RawClient) -> bytes:
        client.send(b"\x16\x03\x01\x00\x05hello\r\n\r\n")
        return client.rest()[0]

    assert (await dialog(controller.http_address, talk)).startswith(b"HTTP/1.1 400 ")


async def test_faults(controller: StandInController) -> None:
    def talk(client: RawClient) -> tuple[bytes, str]:
        client.send(b"GET /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.rest()

    controller.faults = Faults({Stage.HTTP: Say(b"HTTP/1.1 503 Not yet\r\n\r\n")})
    answer = await dialog(controller.http_address, talk)
    assert answer == (b"HTTP/1.1 503 Not yet\r\n\r\n", "eof")
    controller.faults = Faults({Stage.HTTP: Close()})
    assert await dialog(controller.http_address, talk) == (b"", "eof")


async def test_https(nursery: trio.Nursery, identity: InstanceIdentity) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    stand_in = StandInController({}, identity=identity, https=server)
    await nursery.start(stand_in.run)
    assert stand_in.url.startswith("https://")

    def run() -> int:
        connection = http.client.HTTPSConnection(*stand_in.http_address, timeout=10, context=client)
        try:
            connection.request("GET", "/login")
            return connection.getresponse().status
        finally:
            connection.close()

    assert await trio.to_thread.run_sync(run) == 200
