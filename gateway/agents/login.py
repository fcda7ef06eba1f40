"""``<prefix>/login`` as agents ask it: is the controller ready for me?

Owns: the answer. Exactly 200 sends the agent on to ``/wsagents/``; 503 keeps it waiting politely,
old agents included, which any refusal there would end (PROTOCOLS A.5, K.2).

Must not know: how an agent's probe is told from a person's browser (``http.exposure``).
"""

from __future__ import annotations

from typing import Protocol

from gateway.config.models import ControllerConfig
from gateway.errors import ControllerTimeout, ControllerUnreachable
from gateway.http.exchange import Exchange
from gateway.http.router import RouteMatch
from gateway.observability.logs import get_logger

_log = get_logger("session")


class Readiness(Protocol):
    """Who knows whether a controller is ready for agents: ``transport``, or one way alone."""

    async def check_ready(self, name: str, controller: ControllerConfig) -> None:
        """Return, or raise ControllerUnreachable or ControllerTimeout."""


class AgentLogin:
    """Answers agents' probes."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._away: set[str] = set()  # controllers that have been reported as not ready

    async def serve(self, exchange: Exchange) -> None:
        """Answer 200, or raise ControllerUnreachable (503)."""
        match = exchange.match
        try:
            await self._check(match)
        except ControllerUnreachable as error:
            # A thousand agents ask every ten seconds for as long as the controller is away: what is
            # reported is the change.
            error.quiet = match.controller_id in self._away
            self._away.add(match.controller_id)
            raise
        if match.controller_id in self._away:
            self._away.discard(match.controller_id)
            _log.info("controller is ready for agents again", controller=match.controller_id)
        await exchange.respond(200, [(b"Content-Type", b"text/plain")], b"ready for agents\n")

    async def _check(self, match: RouteMatch) -> None:
        try:
            await self._readiness.check_ready(match.controller_id, match.controller)
        except ControllerTimeout as error:
            # Slow and absent are the same to an agent: 503 is the status that it waits out.
            raise ControllerUnreachable(
                "the controller is not ready for agents", detail=str(error), for_agents=True
            ) from None
