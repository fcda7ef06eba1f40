"""What a request is served by: the part of a configuration that one listener's connections see.

Owns: that these things belong together, so that no request ever sees two configurations.

Must not know: where they come from, when they change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateway.config.logs import TraceContextConfig
from gateway.config.models import ListenerConfig
from gateway.config.values import Network
from gateway.http.client_limits import ClientLimits
from gateway.http.exchange import Exchange
from gateway.http.request_meters import RequestMeters
from gateway.http.router import Router
from gateway.observability.access_log import AccessLog
from gateway.transport.tls_context import ClientDemand

Handler = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Serving:
    """One listener's view of one configuration.

    ``router`` None: there are no routes, ``handle`` sees every request as it is. ``handle`` answers
    each exchange or raises; ``access`` gets a line for each request, ``meters`` counts it;
    ``demand`` is what the TLS handshake demands of clients; ``claims`` travel on from trusted
    proxies.
    """

    listener: ListenerConfig
    router: Router | None
    handle: Handler
    trusted_proxies: Sequence[Network] = ()
    limits: ClientLimits = field(default_factory=ClientLimits)
    access: AccessLog = field(default_factory=lambda: AccessLog("off"))
    demand: ClientDemand | None = None
    trace_context: TraceContextConfig = field(default_factory=TraceContextConfig)
    meters: RequestMeters = field(default_factory=RequestMeters)
    claims: frozenset[bytes] = frozenset()
