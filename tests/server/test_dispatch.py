"""Which part serves a request, and who is still let in while the gateway stops."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.agents.endpoint import AgentEndpoint
from gateway.agents.login import AgentLogin
from gateway.config.models import GatewayConfig
from gateway.errors import Draining
from gateway.http.exchange import Exchange
from gateway.http.proxy import Proxy
from gateway.http.router import Router
from gateway.jenkins_cli.endpoint import CliEndpoint
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Field, Headers
from gateway.runtime.drain import Drain
from gateway.server.dispatch import Dispatcher

CONFIG = GatewayConfig.model_validate(
    {
        "state_dir": "/nowhere",
        "listeners": [{"address": "127.0.0.1:1"}],
        "controllers": {"main": {"url": "http://jenkins.test/ci/"}},
        "routes": [
            {"id": "main", "controller": "main"},
            {"id": "edge", "path": "/edge", "controller": "main", "expose": ["agents"]},
        ],
    }
)
JAVA: Field = (b"User-Agent", b"Java/17.0.9")
FIREFOX: Field = (b"User-Agent", b"Mozilla/5.0")


class _Part:
    """Stands in for any of the four handlers."""

    def __init__(self, name: str, served: list[str]) -> None:
        self._name = name
        self._served = served

    async def serve(self, exchange: Exchange) -> None:
        self._served.append(self._name)

    forward = serve

    def claims(self, exchange: Exchange) -> bool:
        return exchange.request.path == b"/ci/cli/ws"


class _Exchange:
    """What dispatching looks at."""

    def __init__(self, method: bytes, target: bytes, *fields: Field) -> None:
        self.request = RequestHead(method, target, b"1.1", Headers(fields))
        self.match = Router(CONFIG).match(b"a", target)


async def served_by(drain: Drain, method: bytes, target: bytes, *fields: Field) -> str:
    served: list[str] = []
    parts: list[Any] = [_Part(name, served) for name in ("agents", "login", "proxy", "cli")]
    dispatcher = Dispatcher(
        agents=cast("AgentEndpoint", parts[0]),
        login=cast("AgentLogin", parts[1]),
        proxy=cast("Proxy", parts[2]),
        cli=cast("CliEndpoint", parts[3]),
        drain=drain,
    )
    await dispatcher.handle(cast("Exchange", _Exchange(method, target, *fields)))
    (name,) = served
    return name


@pytest.mark.parametrize(
    ("method", "target", "fields", "expected"),
    [
        (b"GET", b"/ci/wsagents/", (), "agents"),
        (b"GET", b"/ci/wsagents", (JAVA,), "agents"),
        (b"POST", b"/ci/wsagents/", (), "agents"),  # the endpoint says what is wrong with it
        (b"GET", b"/ci/login", (JAVA,), "login"),
        (b"GET", b"/ci/login", (FIREFOX,), "proxy"),
        (b"POST", b"/ci/login", (JAVA,), "proxy"),
        (b"GET", b"/ci/login", (JAVA, (b"Cookie", b"a=b")), "proxy"),
        (b"GET", b"/edge/login", (FIREFOX,), "login"),
        (b"GET", b"/edge/login", (JAVA,), "login"),
        (b"GET", b"/edge/jnlpJars/agent.jar", (JAVA,), "proxy"),
        (b"GET", b"/ci/tcpSlaveAgentListener/", (JAVA,), "proxy"),
        (b"GET", b"/ci/", (), "proxy"),
        (b"GET", b"/ci/cli/ws", (), "cli"),
    ],
)
async def test_who_serves_what(
    method: bytes, target: bytes, fields: tuple[Field, ...], expected: str
) -> None:
    assert await served_by(Drain(), method, target, *fields) == expected


async def test_no_agent_is_let_in_while_stopping() -> None:
    drain = Drain()
    drain.begin()
    for target in (b"/ci/wsagents/", b"/ci/login"):
        with pytest.raises(Draining):
            await served_by(drain, b"GET", target, JAVA)


async def test_other_requests_are_served_while_stopping() -> None:
    drain = Drain()
    drain.begin()
    assert await served_by(drain, b"GET", b"/ci/login", FIREFOX) == "proxy"
    assert await served_by(drain, b"POST", b"/ci/job/x/build") == "proxy"
