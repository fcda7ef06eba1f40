"""``<prefix>/login`` as agents ask it: is the controller ready for me?

Owns: the answer. Exactly 200 sends the agent on to ``/wsagents/``; 503 keeps it waiting politely,
old agents included, which any refusal there would end (PROTOCOLS A.5, K.2).

Must not know: how an agent's probe is told from a person's browser (``http.exposure``).
"""

from __future__ import annotations

from gateway.agents.discovery import Discovery
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.exchange import Exchange


class AgentLogin:
    """Answers agents' probes."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def serve(self, exchange: Exchange) -> None:
        """Answer 200, or raise ControllerUnreachable (503)."""
        match = exchange.match
        try:
            await self._discovery.check_ready(match.controller_id, match.controller)
        except ControllerTimeout as error:
            # Slow and absent are the same to an agent: 503 is the status that it waits out.
            raise ControllerUnreachable(
                "the controller is not ready for agents", detail=str(error), for_agents=True
            ) from None
        await exchange.respond(200, [(b"Content-Type", b"text/plain")], b"ready for agents\n")
