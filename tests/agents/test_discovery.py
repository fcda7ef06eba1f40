"""Discovery: the document, the TCP port's own answers, the one cache over both (PROTOCOLS B)."""

from __future__ import annotations

from typing import Final

import pytest

from gateway.agents.discovery import AgentPort, Discovery
from gateway.config.values import Address
from gateway.errors import ControllerUnreachable, outcome_of
from gateway.http.upstream import fetch
from tests.agents.discovering import by_address, by_url, fail_to_discover, running
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import (
    MINIMUM_VERSION,
    ScriptedController,
    Visit,
    close,
    other_identity,
    own_identity,
    reset,
    saying,
)

NOT_READY: Final = "the controller is not ready for agents"


# -- the document ---------------------------------------------------------------------------------


async def test_what_a_document_says() -> None:
    controller = ScriptedController(prefix="/jenkins")
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller))
        assert found == AgentPort(
            Address("127.0.0.1", controller.agent_port),
            own_identity().public_key,
            verified=False,
            minimum_version=MINIMUM_VERSION,
        )
    head = controller.requests[0].opening.lower()
    assert head.startswith("get /jenkins/tcpslaveagentlistener/ http/1.1\r\n")
    assert f"\r\nhost: 127.0.0.1:{controller.http_port}\r\n" in head
    for secret in ("node-name", "secret-key", "cookie", "x-remoting"):
        assert secret not in head


@pytest.mark.parametrize(
    "names",
    [("X-Hudson-JNLP-Port",), ("X-Jenkins-JNLP-Port",), ("x-jenkins-jnlp-PORT",)],
)
async def test_either_port_header_will_do(names: tuple[str, ...]) -> None:
    controller = ScriptedController()
    controller.port_headers = names  # type: ignore[assignment]
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller))
        assert found.address.port == controller.agent_port


async def test_the_newer_port_header_wins() -> None:
    controller = ScriptedController()
    controller.port_headers = ("X-Hudson-JNLP-Port",)  # type: ignore[assignment]
    controller.advertised_port = "1\r\nX-Jenkins-JNLP-Port: 2"
    async with running(controller) as discovery:
        assert (await discovery.agent_port("main", by_url(controller))).address.port == 2


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
        ("agents.example.com", "agents.example.com"),
        ("agents.example.com.", "agents.example.com."),
        ("10.1.2.3", "10.1.2.3"),
        ("::1", "::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("compose_service", "compose_service"),
    ],
)
async def test_the_host_of_the_agent_port(host: str | None, expected: str) -> None:
    controller = ScriptedController()
    controller.advertised_host = host
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller))
        assert found.address == Address(expected, controller.agent_port)


@pytest.mark.parametrize(
    "host", ["two words", "a:1", "http://x/", "x" * 300, "\u00fc", "127.1", "fe80::1%eth0", ".."]
)
async def test_a_host_that_is_none(host: str) -> None:
    """It would be a failure of the resolver's; some of those are no OSError."""
    controller = ScriptedController()
    controller.advertised_host = host
    async with running(controller) as discovery:
        error = await fail_to_discover(discovery, by_url(controller))
        assert "names no usable host" in str(error)
        assert outcome_of(error).status == 503


@pytest.mark.parametrize(
    "port", ["", "0", "65536", "-1", "50000x", "5e4", "000050000", "\u00b2", " ", "1.0"]
)
async def test_a_port_that_is_none(port: str) -> None:
    controller = ScriptedController()
    controller.advertised_port = port
    async with running(controller) as discovery:
        error = await fail_to_discover(discovery, by_url(controller))
        assert "names no agent port" in str(error)
        assert outcome_of(error).status == 503


@pytest.mark.parametrize(
    ("protocols", "usable"),
    [
        ("JNLP4-connect, Ping", True),
        ("JNLP4-connect", True),
        ("JNLP-connect,JNLP2-connect,JNLP4-connect", True),
        (None, True),  # absent: no restriction
        ("", True),  # blank: the same (B.2 item 5)
        ("  ", True),
        ("JNLP-connect, JNLP2-connect, Ping", False),
        ("JNLP4-connect-proxy", False),
        ("jnlp4-connect", False),
        (", ,", False),
    ],
)
async def test_protocols(protocols: str | None, usable: bool) -> None:
    controller = ScriptedController()
    controller.protocols = protocols
    async with running(controller) as discovery:
        if usable:
            await discovery.agent_port("main", by_url(controller))
        else:
            error = await fail_to_discover(discovery, by_url(controller))
            assert "does not offer JNLP4-connect" in str(error)
            assert outcome_of(error).status == 503


async def test_plaintext_is_never_offered_but_configured() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        agents = {"protocol": "JNLP4-plaintext", "allow_plaintext": True}
        await discovery.agent_port("main", by_url(controller, **agents))


@pytest.mark.parametrize(
    ("identity", "usable"),
    [
        (own_identity().header, True),
        (other_identity().header, True),
        (None, False),
        ("", False),
        ("????", False),
        ("AAAA", False),
        (own_identity().header[:-4], False),
        ("A" * 400, False),
    ],
)
async def test_only_a_public_key_is_a_key(identity: str | None, usable: bool) -> None:
    controller = ScriptedController()
    controller.advertised = identity
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller))
        assert (found.identity is not None) is usable


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("4.13", "4.13"),
        (MINIMUM_VERSION, MINIMUM_VERSION),
        (None, None),
        ("", None),
        ("4.13 or so", None),
        ("v" * 65, None),
        ("\u00fc", None),
    ],
)
async def test_minimum_versions(version: str | None, expected: str | None) -> None:
    controller = ScriptedController()
    controller.version = version
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller))
        assert found.minimum_version == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "is disabled"),
        (saying(b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n"), "answered 500"),
        (saying(b"HTTP/1.1 204 \r\n\r\n"), "answered 204"),
        (
            saying(b"HTTP/1.1 302 \r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n"),
            "answered 302",
        ),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)), "too long"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", then=close), "not ready"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "refused"),
        (saying(b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n"), "refused"),
        (close, "without an answer"),
        (reset, "reset"),
    ],
)
async def test_answers_that_are_no_document(answer: scripted.Script, reason: str) -> None:
    controller = ScriptedController()
    controller.on_request = answer
    async with running(controller) as discovery:
        error = await fail_to_discover(discovery, by_url(controller))
        assert isinstance(error, ControllerUnreachable)
        assert error.public == NOT_READY
        assert reason in str(error)
        assert outcome_of(error).status == 503


# -- what the configuration knows better ----------------------------------------------------------


async def test_a_configured_address_beats_the_document() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_url(controller, address="10.0.0.1:1"))
        assert found.address == Address("10.0.0.1", 1)
        assert found.identity == own_identity().public_key
        assert found.minimum_version == MINIMUM_VERSION


@pytest.mark.parametrize("broken", [close, saying(b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n")])
async def test_with_address_and_identity_the_document_may_be_missing(
    broken: scripted.Script,
) -> None:
    controller = ScriptedController()
    controller.on_request = broken
    async with running(controller) as discovery:
        agents = {"address": "10.0.0.1:1", "identity": own_identity().header}
        found = await discovery.agent_port("main", by_url(controller, **agents))
        assert found == AgentPort(Address("10.0.0.1", 1), None, False, None)
        for missing in ("address", "identity"):
            fewer = {key: value for key, value in agents.items() if key != missing}
            await fail_to_discover(Discovery(fetch), by_url(controller, **fewer))


async def test_without_url_the_port_itself_is_asked() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_address(controller))
        assert found == AgentPort(
            Address("127.0.0.1", controller.agent_port), None, False, MINIMUM_VERSION
        )
    assert controller.requests == []
    assert bytes(controller.roots[0].clear) == b"GET / HTTP/1.0\r\n\r\n"


async def _no_root(visit: Visit) -> None:
    await visit.send(b"HTTP/1.0 404 Not Found\r\n\r\nNot Found\r\n")


async def _root_with_newlines(visit: Visit) -> None:
    await visit.send(b"HTTP/1.0 200 OK\n\nremoting-minimum-version:4.13\nClient: x\n")


async def _endless_root(visit: Visit) -> None:
    await visit.send(b"x" * 5000)
    await visit.read_to_end()


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (_no_root, None),
        (_root_with_newlines, "4.13"),
        (_endless_root, None),
        (close, None),
        (reset, None),
        (saying(b"Remoting-Minimum-Version: evil header\r\n", then=close), None),
        (saying(b"Remoting-Minimum-Version: 4.13\r\n", then=reset), "4.13"),
    ],
)
async def test_answers_to_get_root(root: scripted.Script, expected: str | None) -> None:
    """Whatever it is, it is no reason to turn agents away."""
    controller = ScriptedController()
    controller.on_root = root
    async with running(controller) as discovery:
        found = await discovery.agent_port("main", by_address(controller))
        assert found.minimum_version == expected


# -- readiness ------------------------------------------------------------------------------------


async def test_ready() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        await discovery.check_ready("main", by_url(controller))
    assert bytes(controller.pings[0].clear) == b"\x00\x0dProtocol:Ping"
    assert controller.agents == []


@pytest.mark.parametrize(
    "ping",
    [
        saying(b"Ping\r\n", then=close),
        saying(b"Ping", then=close),
        saying(b"Unknown protocol:\n", then=close),  # core before 1.653
        saying(b"Unknown protocol:Protocol:Ping\n", then=close),
        saying(b"Ping\n", then=reset),
    ],
)
async def test_alive(ping: scripted.Script) -> None:
    controller = ScriptedController()
    controller.on_ping = ping
    async with running(controller) as discovery:
        await discovery.check_ready("main", by_url(controller))


@pytest.mark.parametrize("ping", [close, reset, saying(b"pong\n"), saying(b"\0" * 5000)])
async def test_not_alive(ping: scripted.Script) -> None:
    controller = ScriptedController()
    controller.on_ping = ping
    async with running(controller) as discovery:
        with pytest.raises(ControllerUnreachable, match="does not answer Protocol:Ping"):
            await discovery.check_ready("main", by_url(controller))
