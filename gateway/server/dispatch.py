"""Which part of the gateway serves a request.

Owns: the table from a matched endpoint to its handler, and that no agent is let in any more once
stopping has begun.

Must not know: how any of them works.
"""

from __future__ import annotations

from gateway.agents.endpoint import AgentEndpoint, echo_cookie
from gateway.agents.login import AgentLogin
from gateway.errors import Draining
from gateway.http.exchange import Exchange
from gateway.http.exposure import is_agents
from gateway.http.proxy import Proxy
from gateway.http.router import Endpoint
from gateway.jenkins_cli.endpoint import CliEndpoint
from gateway.runtime.drain import Drain


class Dispatcher:
    """Hands each exchange to the bridge, the answer for agents' probes, the CLI or the proxy."""

    def __init__(
        self,
        *,
        agents: AgentEndpoint,
        login: AgentLogin,
        cli: CliEndpoint,
        proxy: Proxy,
        drain: Drain,
    ) -> None:
        self._agents = agents
        self._login = login
        self._cli = cli
        self._proxy = proxy
        self._drain = drain

    async def handle(self, exchange: Exchange) -> None:
        """Have ``exchange`` answered.

        Raises what the handlers do, and Draining (503) for agents that come while the gateway is
        stopping: they wait that out, and ask the next one.
        """
        endpoint = exchange.match.endpoint
        if endpoint is Endpoint.AGENTS:
            if self._drain.begun:
                echo_cookie(exchange)
            self._check_open()
            await self._agents.serve(exchange)
        elif endpoint is Endpoint.LOGIN and is_agents(exchange.match, exchange.request):
            self._check_open()
            await self._login.serve(exchange)
        elif self._cli.claims(exchange):
            await self._cli.serve(exchange)
        else:
            await self._proxy.forward(exchange)

    def _check_open(self) -> None:
        if self._drain.begun:
            raise Draining()
