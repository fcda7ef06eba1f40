"""What the access log is told about an exchange.

Owns: taking the facts from an exchange that is over, or from a connection on which none began.

Must not know: how lines look, when they are written.
"""

from __future__ import annotations

import trio

from gateway.config.models import ListenerConfig
from gateway.errors import outcome_of
from gateway.http.exchange import Exchange
from gateway.observability.access_log import AccessRecord
from gateway.transport.stream import Stream


def record_of(exchange: Exchange, error: Exception | None = None) -> AccessRecord:
    """Return the record of an exchange that is over, or upgraded; ``error`` ended it.

    Where the client got no status it is that of ``error``: 499 for one that left before.
    """
    now = trio.current_time()
    request = exchange.request
    headers = request.headers
    status = exchange.status
    if status is None and error is not None:
        status = outcome_of(error).status
    upstream = None
    if exchange.upstream_at is not None:
        answered = now if exchange.answered_at is None else exchange.answered_at
        upstream = answered - exchange.upstream_at
    tls = exchange.stream.tls
    return AccessRecord(
        request_id=exchange.request_id,
        client=exchange.client_address,
        peer=exchange.peer.host,
        scheme=exchange.scheme,
        status=status,
        duration=now - exchange.received_at,
        method=request.method,
        target=request.target,
        version=request.version,
        host=exchange.provenance.host,
        user_agent=headers.get(b"user-agent"),
        referrer=headers.get(b"referer"),
        received=exchange.body_received,
        sent=exchange.body_sent,
        route=exchange.match.route.id if exchange.routed else None,
        controller=exchange.match.controller_id if exchange.routed else None,
        upstream=upstream,
        tls_version=None if tls is None else tls.version,
        tls_subject=None if tls is None else tls.subject,
        error=None if error is None else type(error).__name__,
        trace_id=None if exchange.trace is None else exchange.trace.trace_id,
    )


def refusal_record(
    stream: Stream, listener: ListenerConfig, error: Exception, request_id: str
) -> AccessRecord:
    """Return the record of what never became a request."""
    tls = stream.tls
    return AccessRecord(
        request_id=request_id,
        client=stream.peer.host,
        peer=stream.peer.host,
        scheme="http" if listener.tls is None else "https",
        status=outcome_of(error).status,
        duration=0.0,
        tls_version=None if tls is None else tls.version,
        tls_subject=None if tls is None else tls.subject,
        error=type(error).__name__,
    )
