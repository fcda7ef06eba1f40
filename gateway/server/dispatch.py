"""Which part of the gateway serves a request.

Owns: the table from a matched endpoint to its handler.

Must not know: how any of them works.
"""

from __future__ import annotations

from gateway.agents.endpoint import AgentEndpoint
from gateway.agents.login import AgentLogin, is_agent_probe
from gateway.http.exchange import Exchange
from gateway.http.proxy import Proxy
from gateway.http.router import Endpoint


class Dispatcher:
    """Hands each exchange to the bridge, to the answer for agents' probes, or to the proxy."""

    def __init__(self, *, agents: AgentEndpoint, login: AgentLogin, proxy: Proxy) -> None:
        self._agents = agents
        self._login = login
        self._proxy = proxy

    async def handle(self, exchange: Exchange) -> None:
        endpoint = exchange.match.endpoint
        if endpoint is Endpoint.AGENTS:
            await self._agents.serve(exchange)
        elif endpoint is Endpoint.LOGIN and is_agent_probe(exchange.request):
            await self._login.serve(exchange)
        else:
            await self._proxy.forward(exchange)
