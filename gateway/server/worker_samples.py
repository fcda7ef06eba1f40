"""All numbers of one worker, when somebody asks.

Owns: which states are read from where, and what a worker that accepts no more has no say in.

Must not know: how they get to whoever asks, other workers.
"""

from __future__ import annotations

from typing import Final

from gateway.agents.session_meters import TRANSPORTS, add_nodes
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import (
    CERTIFICATE_EXPIRY,
    CONNECTIONS,
    CONNECTIONS_LIMIT,
    CONNECTIONS_REFUSED,
    DIAL_FAILURES,
    LOCKOUTS,
    QUEUE_BUSY,
    QUEUE_EXPECTED,
    QUEUE_PLACES,
    QUEUE_TURNED_AWAY,
    QUEUE_WAITING,
    SERIES_DROPPED,
    SESSIONS_ENDED,
    SESSIONS_OPENED,
    TAKEOVERS,
    WEBSOCKETS,
    WRONG_SECRETS,
    Metric,
)
from gateway.server.generation import Generation, Lasting

# Counters that alerts watch begin with 0, or their first step would be seen by nobody: Prometheus
# knows no increase from nothing.
_FROM_ZERO: Final[tuple[tuple[Metric, tuple[tuple[str, ...], ...]], ...]] = (
    (SESSIONS_OPENED, tuple((each,) for each in TRANSPORTS)),
    (
        SESSIONS_ENDED,
        tuple(
            (transport, "agent", reason)
            for transport in TRANSPORTS
            for reason in ("eof", "reset", "peer_lost")
        ),
    ),
    (TAKEOVERS, (("taken_over",), ("two_agents",))),
    (LOCKOUTS, (("address",), ("node",))),
    (WRONG_SECRETS, (("gateway",), ("controller",))),
    (DIAL_FAILURES, (("unreachable",), ("timeout",))),
    (QUEUE_TURNED_AWAY, ((),)),
)
_REFUSALS: Final = ("limit", "address_limit", "tls_handshake", "proxy_protocol", "shortage")


def collect(
    lasting: Lasting, generation: Generation, *, leaving: object, lingering: object
) -> Samples:
    """Return everything. A worker that is ``leaving`` has no certificates, addresses or limits.

    ``lingering``: it leaves for its successor of an upgrade.
    """
    samples = Samples()
    controllers = tuple(generation.config.controllers)
    lasting.session_meters.count_live_bytes()
    for controller in controllers:
        for metric, rows in _FROM_ZERO:
            for labels in rows:
                lasting.meters.count(metric, controller, *labels, by=0)
    for reason in _REFUSALS:
        lasting.meters.count(CONNECTIONS_REFUSED, reason, by=0)
    lasting.meters.count(SERIES_DROPPED, by=0)
    lasting.meters.add_to(samples)
    lasting.session_meters.add_sessions(lasting.registry, controllers, samples, lingering=lingering)
    add_nodes(lasting.registry, generation.config.metrics, samples)
    samples.add(CONNECTIONS, lasting.places.held)
    for controller in controllers:
        samples.add(WEBSOCKETS, lasting.websockets.of(controller), controller)
    for upstream in generation.upstreams:
        upstream.add_to(samples, with_addresses=not leaving)
    for name, line in lasting.handshakes:
        samples.add(QUEUE_BUSY, line.busy, name)
        samples.add(QUEUE_WAITING, line.waiting, name)
        samples.add(QUEUE_EXPECTED, line.expected, name)
        samples.add(QUEUE_PLACES, 0 if leaving else line.places, name)
    if not leaving:
        samples.add(CONNECTIONS_LIMIT, lasting.places.limit)
        _add_certificates(generation, samples)
    return samples


def _add_certificates(generation: Generation, samples: Samples) -> None:
    for listener, terms in zip(generation.config.listeners, generation.terms, strict=True):
        if terms.contexts is not None:
            for path, expiry in terms.contexts.expiries.items():
                samples.add(CERTIFICATE_EXPIRY, expiry, str(listener.address), str(path))
