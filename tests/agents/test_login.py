"""``/login`` as agents ask it: 200 when, and only when, the controller is ready for them (K.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.agents.discovery import FAILURE_TTL
from tests import recordings
from tests.agents.bridge import (
    agent_request,
    ask,
    bridged,
    check_refusal,
    make_config,
    probe,
    running_gateway,
)
from tests.peers import scripted_controller as scripted
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import (
    ScriptedController,
    Visit,
    close,
    own_identity,
    reset,
    saying,
    stay_silent,
)

NOT_READY: Final = "the controller is not ready for agents"
LOGIN_PAGE: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Jenkins: 2.scripted\r\n"
    b"Content-Length: 7\r\n\r\nSign in"
)


async def serve_pages(visit: Visit) -> None:
    """Serve a login page beside the discovery document."""
    page = "/login" in visit.opening.split(" ")[1]
    await visit.send(LOGIN_PAGE if page else visit.controller.document())
    visit.fin()
    await visit.read_to_end()


def asked_for_login(controller: ScriptedController) -> int:
    """Return how many requests for the page itself the controller has seen."""
    return sum("/login" in visit.opening.split(" ")[1] for visit in controller.requests)


# -- ready ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ws-reject", "ws-unknown-node", "ws-wrong-secret"])
async def test_the_recorded_probes(name: str, tmp_path: Path) -> None:
    """Every probe that real agents were recorded with, byte for byte but for the host."""
    requests = [
        connection["request"]
        for connection in recordings.load(name)["connections"]
        if connection["request"][0] == "GET /login HTTP/1.1"
    ]
    assert requests
    controller = ScriptedController()
    controller.on_request = serve_pages
    async with bridged(tmp_path, controller) as port:
        for lines in requests:
            answer = await ask(port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            assert answer.status == 200
            assert answer.body == b"ready for agents\n"
            assert answer.get(b"x-jenkins") is None
    assert asked_for_login(controller) == 0
    assert len(controller.pings) == 1


@pytest.mark.parametrize("path", ["/jenkins/login", "/jenkins/login?from=agent"])
async def test_below_a_context_path(path: str, tmp_path: Path) -> None:
    controller = ScriptedController(prefix="/jenkins")
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, probe(path))).body == b"ready for agents\n"
        assert (await ask(port, probe("/login"))).status == 404


async def test_probes_on_one_connection(tmp_path: Path) -> None:
    """Java keeps its connection."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port, await RawClient.connect(port) as client:
        for _ in range(3):
            assert (await client.ask(probe())).status == 200


async def test_ready_means_that_an_agent_gets_in(tmp_path: Path) -> None:
    """A hundred waiting agents cost the controller one question."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        answers: list[int] = []

        async def one() -> None:
            answers.append((await ask(port, probe())).status)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
        assert answers == [200] * 100
    assert len(controller.pings) == 1
    assert len(controller.requests) == 1


# -- not ready ------------------------------------------------------------------------------------


def _port_closed(controller: ScriptedController) -> None:
    controller.advertised_port = "9"


def _no_port(controller: ScriptedController) -> None:
    controller.status = 404


def _starting_up(controller: ScriptedController) -> None:
    controller.status = 503


def _another_protocol(controller: ScriptedController) -> None:
    controller.protocols = "JNLP-connect, Ping"


def _no_ping(controller: ScriptedController) -> None:
    controller.on_ping = close


def _ping_reset(controller: ScriptedController) -> None:
    controller.on_ping = reset


def _something_else_there(controller: ScriptedController) -> None:
    controller.on_ping = saying(b"220 mail.example.com ESMTP\r\n")


def _no_http(controller: ScriptedController) -> None:
    controller.on_request = close


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (_port_closed, "refused"),
        (_no_port, "disabled"),
        (_starting_up, "503"),
        (_another_protocol, "does not offer"),
        (_no_ping, "does not answer"),
        (_ping_reset, "does not answer"),
        (_something_else_there, "does not answer"),
        (_no_http, "without an answer"),
    ],
)
async def test_not_ready(
    breaks: object, reason: str, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    controller = ScriptedController()
    assert callable(breaks)
    breaks(controller)
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, probe())
        check_refusal(answer, log, 503, NOT_READY)
        assert answer.get(b"retry-after") == b"10"
        assert reason in log.entries[-1]["reason"]
        # And back again: the next probe but one of a real agent finds it.
        fresh = ScriptedController()
        for name in ("advertised_port", "status", "protocols", "on_ping", "on_request"):
            setattr(controller, name, getattr(fresh, name))
        await trio.sleep(2)
        assert (await ask(port, probe())).status == 200


async def test_nobody_is_there(tmp_path: Path, log: LogCapture) -> None:
    async with running_gateway(make_config(tmp_path, "http://127.0.0.1:9/")) as port:
        check_refusal(await ask(port, probe()), log, 503, NOT_READY)


@pytest.mark.parametrize("silent", ["on_ping", "on_request"])
async def test_silence_is_503_too(
    silent: str, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    """Not 504: the status that an agent waits out is the same for slow and absent."""
    controller = ScriptedController()
    setattr(controller, silent, stay_silent)
    async with bridged(tmp_path, controller) as port:
        started = trio.current_time()
        check_refusal(await ask(port, probe()), log, 503, NOT_READY)
        assert trio.current_time() - started == pytest.approx(5, abs=0.01)


async def test_a_failed_leg_shows_at_the_next_probe(tmp_path: Path) -> None:
    """Ready a moment ago counts for nothing once an agent could not be let in."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port:
        assert (await ask(port, probe())).status == 200
        controller.on_ping = close
        assert (await ask(port, probe())).status == 200  # remembered
        controller.script = close
        assert (await ask(port, agent_request())).status == 503
        await trio.sleep(FAILURE_TTL)
        assert (await ask(port, probe())).status == 503


# -- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(probe("/login", "Cookie: JSESSIONID.1=x"), id="a session"),
        pytest.param(probe("/login", "Authorization: Basic eDp5"), id="credentials"),
        pytest.param(probe().replace(b"Java/17.0.15", b"Mozilla/5.0"), id="a browser"),
        pytest.param(probe().replace(b"User-Agent: Java/17.0.15\r\n", b""), id="no name"),
        pytest.param(probe().replace(b"GET", b"HEAD", 1), id="another method"),
        pytest.param(probe("/login/"), id="another page"),
    ],
)
async def test_everybody_else_is_proxied(request_: bytes, tmp_path: Path) -> None:
    """Ready or not: what they see is the controller's page."""
    controller = ScriptedController()
    controller.on_request = serve_pages
    controller.on_ping = close
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, request_)
        assert answer.status == 200
        assert answer.get(b"x-jenkins") == b"2.scripted"
    assert asked_for_login(controller) == 1
    assert controller.pings == []


# -- a controller without url ---------------------------------------------------------------------


async def test_without_url(tmp_path: Path, log: LogCapture) -> None:
    """Only the TCP agent port is reachable: it is asked itself, and there is no page to proxy."""
    controller = ScriptedController()
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        agents = {
            "address": f"127.0.0.1:{controller.agent_port}",
            "identity": own_identity().header,
        }
        async with running_gateway(make_config(tmp_path, None, agents=agents)) as port:
            assert (await ask(port, probe())).status == 200
            assert len(controller.pings) == 1
            answer = await ask(port, agent_request())
            assert answer.status == 101
            assert answer.get(b"x-remoting-minimum-version") == scripted.MINIMUM_VERSION.encode()
            assert len(controller.roots) == 1
            for request in (
                probe().replace(b"Java/17.0.15", b"Mozilla/5.0"),
                probe("/").replace(b"Java/17.0.15", b"Mozilla/5.0"),
                probe("/tcpSlaveAgentListener/"),
            ):
                check_refusal(await ask(port, request), log, 404, "no route for this path")
        nursery.cancel_scope.cancel()
    assert controller.requests == []


async def test_without_url_below_a_path(tmp_path: Path) -> None:
    controller = ScriptedController()
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        agents = {
            "address": f"127.0.0.1:{controller.agent_port}",
            "identity": own_identity().header,
        }
        routes = [{"id": "main", "path": "/team", "controller": "main"}]
        config = make_config(tmp_path, None, agents=agents, routes=routes)
        async with running_gateway(config) as port:
            assert (await ask(port, probe("/team/login"))).status == 200
            assert (await ask(port, probe("/login"))).status == 404
        nursery.cancel_scope.cancel()


# -- what TCP agents are told ---------------------------------------------------------------------


def discovery_request(path: str = "/tcpSlaveAgentListener/") -> bytes:
    """Return what an agent in TCP mode asks (PROTOCOLS B.2)."""
    return probe(path, "Node-Name: my-agent")


async def test_the_document_is_passed_untouched(tmp_path: Path) -> None:
    controller = ScriptedController()
    controller.advertised_host = "inside.example.com"
    async with bridged(tmp_path, controller) as port:
        answer = await ask(port, discovery_request())
    lines = controller.document().partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    told = [line for line in answer.head.split(b"\r\n")[1:] if line]
    assert told.pop().startswith(b"X-Request-Id: ")
    assert told == lines
    assert answer.body == b"\n\n  Jenkins\n"
    assert "Node-Name: my-agent\r\n" in controller.requests[0].opening


@pytest.mark.parametrize("path", ["/tcpSlaveAgentListener/", "/tcpSlaveAgentListener"])
async def test_the_document_is_hidden(path: str, tmp_path: Path, log: LogCapture) -> None:
    """From agents in TCP mode; the gateway itself still asks."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller, tcp_discovery="hide") as port:
        check_refusal(await ask(port, discovery_request(path)), log, 404, "no route for this path")
        assert controller.requests == []
        assert (await ask(port, agent_request())).status == 101


async def test_the_document_is_rewritten(tmp_path: Path) -> None:
    """Host and ports only; and the gateway's own way to the port does not change."""
    controller = ScriptedController()
    rewrite = {"host": "agents.example.com", "port": 50_443}
    async with bridged(tmp_path, controller, tcp_discovery=rewrite) as port:
        answer = await ask(port, discovery_request())
        assert (await ask(port, agent_request())).status == 101
    assert answer.get(b"x-jenkins-jnlp-host") == b"agents.example.com"
    assert answer.get(b"x-jenkins-jnlp-port") == b"50443"
    assert answer.get(b"x-hudson-jnlp-port") == b"50443"
    assert answer.get(b"x-instance-identity") == own_identity().header.encode()
    assert answer.get(b"x-jenkins-agent-protocols") == b"JNLP4-connect, Ping"
    assert answer.get(b"x-remoting-minimum-version") == scripted.MINIMUM_VERSION.encode()


async def test_a_missing_document_is_not_made_up(tmp_path: Path) -> None:
    controller = ScriptedController()
    controller.status = 404
    rewrite = {"host": "agents.example.com", "port": 50_443}
    async with bridged(tmp_path, controller, tcp_discovery=rewrite) as port:
        answer = await ask(port, discovery_request())
    assert answer.status == 404
    assert answer.get(b"x-jenkins-jnlp-host") is None


# -- a line that is too long ----------------------------------------------------------------------

BUSY: Final = "too many connections, try again later"


async def test_who_would_wait_too_long_is_told_to_ask_again(
    tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    """One turn a second: ten within 10 s."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller, handshake_rate=1) as port:
        for _ in range(10):
            assert (await ask(port, probe())).status == 200
        answer = await ask(port, probe())
        check_refusal(answer, log, 503, BUSY)
        assert answer.get(b"retry-after") == b"1"
        assert log.entries[-1]["log_level"] == "info"
        # A storm is reported once a minute, not once an agent.
        assert (await ask(port, probe())).status == 503
        assert log.entries[-1]["log_level"] == "debug"
        # Whoever comes is let in, and makes room for the next one to ask.
        async with await RawClient.connect(port) as client:
            await client.send(agent_request())
            assert (await client.read_head()).status == 101
            assert (await ask(port, probe())).status == 200
        # Nobody came for the others' turns.
        await trio.sleep(5)
        for _ in range(10):
            assert (await ask(port, probe())).status == 200
        await trio.sleep(60)
        for _ in range(11):
            await ask(port, probe())
        assert log.entries[-1]["log_level"] == "info"


async def test_only_agents_reserve_turns(tmp_path: Path) -> None:
    """Under an edge route everybody asks, checks of health for instance; they must not be refused
    because agents are many, or take their turns.
    """
    controller = ScriptedController()
    routes = [{"id": "edge", "path": "/", "controller": "main", "expose": ["agents"]}]
    async with bridged(tmp_path, controller, handshake_rate=1, routes=routes) as port:
        browser = probe().replace(b"Java/17.0.15", b"HealthChecker/2.0")
        for _ in range(30):
            assert (await ask(port, browser)).status == 200
        for _ in range(10):
            assert (await ask(port, probe())).status == 200
        assert (await ask(port, probe())).status == 503
        assert (await ask(port, browser)).status == 200
