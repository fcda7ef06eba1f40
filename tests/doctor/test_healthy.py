"""Healthy set-ups, with nothing to find: the gateway alone and behind documented proxies, Jenkins
alone and behind them, agents over WebSocket and over TCP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor.examine import examine
from gateway.doctor.findings import Outcome
from gateway.doctor.question import Question
from gateway.doctor.runner import Observer
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import (
    PROXY,
    apache_front,
    ask,
    behind_gateway,
    good_tls,
    haproxy_front,
    nginx_front,
    running,
)
from tests.server.workers import HOST
from tests.tools import require_tool

pytestmark = pytest.mark.e2e

SetUp = Callable[[Path], AbstractAsyncContextManager[Question]]


def alone(**options: Any) -> SetUp:
    """Return the gateway with TLS, in front of a Jenkins that has its TCP agent port only."""
    more = options.pop("config", {})

    @asynccontextmanager
    async def set_up(folder: Path) -> AsyncIterator[Question]:
        jenkins, tls = Jenkins(**options), good_tls(folder)
        async with behind_gateway(folder, jenkins, **more) as worker:
            yield ask(jenkins, worker.tls, tls)

    return set_up


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Question]:
    jenkins = Jenkins()
    async with behind_gateway(folder, jenkins) as worker:
        yield ask(jenkins, worker.plain)


@asynccontextmanager
async def behind_nginx(folder: Path) -> AsyncIterator[Question]:
    require_tool("nginx")
    jenkins, tls = Jenkins(), good_tls(folder)
    async with (
        behind_gateway(folder, jenkins) as worker,
        nginx_front(folder, worker.plain, tls) as port,
    ):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def behind_haproxy(folder: Path) -> AsyncIterator[Question]:
    require_tool("haproxy")
    jenkins, tls = Jenkins(), good_tls(folder)
    async with (
        behind_gateway(folder, jenkins) as worker,
        haproxy_front(folder, worker.plain, tls) as port,
    ):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def behind_apache(folder: Path) -> AsyncIterator[Question]:
    require_tool("apache2")
    jenkins, tls = Jenkins(), good_tls(folder)
    async with (
        behind_gateway(folder, jenkins) as worker,
        apache_front(worker.plain, tls) as port,
    ):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def proxy_protocol(folder: Path) -> AsyncIterator[Question]:
    """HAProxy passes TLS through and says who the client is."""
    require_tool("haproxy")
    jenkins, tls = Jenkins(), good_tls(folder)
    files = {"certificate": str(tls.pair.certificate), "key": str(tls.pair.key)}
    listeners = [
        {"address": f"{HOST}:0"},
        {
            "address": f"{HOST}:0",
            "tls": {"certificates": [files]},
            "proxy_protocol": "required",
        },
    ]
    async with behind_gateway(folder, jenkins, listeners=listeners) as worker:
        fields = "  mode tcp\n"
        async with haproxy_front(
            folder, worker.tls, None, fields=fields, server="send-proxy-v2"
        ) as port:
            yield ask(jenkins, port, tls)


@asynccontextmanager
async def jenkins_alone(folder: Path) -> AsyncIterator[Question]:
    async with running(Jenkins(websocket=True)) as jenkins:
        yield ask(jenkins, jenkins.port)


@asynccontextmanager
async def jenkins_behind_nginx(folder: Path) -> AsyncIterator[Question]:
    require_tool("nginx")
    tls = good_tls(folder)
    async with (
        running(Jenkins(websocket=True, tcp=False, prefix="/jenkins")) as jenkins,
        nginx_front(folder, jenkins.port, tls) as port,
    ):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def jenkins_behind_apache(folder: Path) -> AsyncIterator[Question]:
    require_tool("apache2")
    tls = good_tls(folder)
    async with (
        running(Jenkins(websocket=True)) as jenkins,
        apache_front(jenkins.port, tls) as port,
    ):
        yield ask(jenkins, port, tls)


@asynccontextmanager
async def over_tcp(folder: Path) -> AsyncIterator[Question]:
    async with running(Jenkins()) as jenkins:
        yield ask(jenkins, jenkins.port, tcp=True)


@asynccontextmanager
async def without_session(folder: Path) -> AsyncIterator[Question]:
    async with running(Jenkins(websocket=True)) as jenkins:
        yield ask(jenkins, jenkins.port, session=False)
        assert all(each.fields for each in jenkins.requests)
        assert not jenkins.agents.channels


@asynccontextmanager
async def without_session_through_the_gateway(folder: Path) -> AsyncIterator[Question]:
    jenkins, tls = Jenkins(), good_tls(folder)
    async with behind_gateway(folder, jenkins) as worker:
        yield ask(jenkins, worker.tls, tls, session=False)
        assert not jenkins.agents.channels
        (attempt,) = [each for each in jenkins.agents.attempts if each.headers is not None]
        assert attempt.verdict == "OK"
        assert (attempt.peer_verdict or "").startswith("ERROR")


EDGE = {"routes": [{"id": "edge", "host": HOST, "controller": "main", "expose": ["agents"]}]}
RELAY = {"trusted_proxies": [PROXY]}


@pytest.mark.parametrize(
    "set_up",
    [
        pytest.param(alone(), id="gateway"),
        pytest.param(plain, id="gateway on loopback without TLS"),
        pytest.param(alone(prefix="/jenkins"), id="prefix"),
        pytest.param(alone(config=EDGE), id="edge"),
        pytest.param(alone(websocket=True, tcp=False), id="gateway before WebSocket"),
        pytest.param(behind_nginx, id="nginx, gateway"),
        pytest.param(behind_haproxy, id="HAProxy, gateway"),
        pytest.param(behind_apache, id="Apache, gateway"),
        pytest.param(proxy_protocol, id="PROXY protocol"),
        pytest.param(jenkins_alone, id="Jenkins"),
        pytest.param(jenkins_behind_nginx, id="nginx, Jenkins"),
        pytest.param(jenkins_behind_apache, id="Apache, Jenkins"),
        pytest.param(over_tcp, id="TCP"),
        pytest.param(without_session, id="no session"),
        pytest.param(without_session_through_the_gateway, id="no session, gateway"),
    ],
)
async def test_nothing_is_found(tmp_path: Path, set_up: SetUp) -> None:
    async with set_up(tmp_path) as question:
        report = await examine(question, None, Observer())
    print(*report.steps, sep="\n")
    assert [(each.cause, each.seen) for each in report.findings] == []
    assert report.exit_status == 0
    done = {step.name for step in report.steps if step.outcome is Outcome.OK}
    # A check that is left out finds nothing either.
    assert done >= {"addresses", "login", "slashes", "headers", "cli"}
    if question.session and not question.tcp:
        assert done >= {"upgrade", "ping", "hold"}
    else:
        assert "secret" in done
