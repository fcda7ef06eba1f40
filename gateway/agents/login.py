"""``<prefix>/login`` as agents ask it: is the controller ready for me?

Owns: the answer. Exactly 200 sends the agent on to ``/wsagents/``, with a number in the
controller's line; 503 keeps it waiting politely, old agents included, which any refusal there would
end (PROTOCOLS A.5, K.2).

Must not know: how an agent's probe is told from a person's browser (``http.exposure``).
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import trio

from gateway.config.models import ControllerConfig
from gateway.errors import ControllerTimeout, ControllerUnreachable, LimitExceeded
from gateway.http.exchange import Exchange
from gateway.http.exposure import is_agent_probe
from gateway.http.router import RouteMatch
from gateway.observability.logs import get_logger
from gateway.runtime.handshakes import Handshakes

_log = get_logger("session")

# During a storm hundreds of agents a second are told to wait; one line in this time says so.
_REPORT_EVERY: Final = 60.0  # seconds
# What others than agents are told while a controller is away, seconds: agent.jar's own pace.
_ASK_AGAIN: Final = 10


class Readiness(Protocol):
    """Who knows whether a controller is ready for agents: ``transport``, or one way alone."""

    async def check_ready(self, name: str, controller: ControllerConfig) -> None:
        """Return, or raise ControllerUnreachable or ControllerTimeout."""


class AgentLogin:
    """Answers agents' probes."""

    def __init__(self, readiness: Readiness, handshakes: Handshakes) -> None:
        self._readiness = readiness
        self._handshakes = handshakes
        self._away: set[str] = set()  # controllers that have been reported as not ready
        self._crowded: dict[str, float] = {}  # when a line was reported as full

    async def serve(self, exchange: Exchange) -> None:
        """Answer 200, or raise ControllerUnreachable or LimitExceeded (503)."""
        match = exchange.match
        try:
            await self._check(match)
        except ControllerUnreachable as error:
            # A thousand agents ask every ten seconds for as long as the controller is away: what is
            # reported is the change.
            exchange.error_headers.append((b"Retry-After", b"%d" % _ASK_AGAIN))
            error.quiet = match.controller_id in self._away
            self._away.add(match.controller_id)
            raise
        if match.controller_id in self._away:
            self._away.discard(match.controller_id)
            _log.info("controller is ready for agents again", controller=match.controller_id)
        if is_agent_probe(exchange.request):  # under an edge route, others may ask as well
            self._reserve(exchange)
        await exchange.respond(200, [(b"Content-Type", b"text/plain")], b"ready for agents\n")

    def _reserve(self, exchange: Exchange) -> None:
        """Draw a number for the agent. Raises LimitExceeded."""
        name = exchange.match.controller_id
        line = self._handshakes.of(name)
        try:
            line.reserve(exchange.client_address)
        except LimitExceeded as error:
            now = trio.current_time()
            error.quiet = now < self._crowded.get(name, -math.inf) + _REPORT_EVERY
            if not error.quiet:
                self._crowded[name] = now
            # agent.jar does not read it; other clients and people do.
            exchange.error_headers.append((b"Retry-After", b"%d" % line.retry_after()))
            raise

    async def _check(self, match: RouteMatch) -> None:
        try:
            await self._readiness.check_ready(match.controller_id, match.controller)
        except ControllerTimeout as error:
            # Slow and absent are the same to an agent: 503 is the status that it waits out.
            raise ControllerUnreachable(
                "the controller is not ready for agents", detail=str(error), for_agents=True
            ) from None
