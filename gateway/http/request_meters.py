"""What is counted of each request.

Owns: the labels: route and controller as configured, methods and statuses that are usual.

Must not know: when a request is over, what becomes of the numbers.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import trio

from gateway.errors import GatewayError, outcome_of
from gateway.http.exchange import Exchange
from gateway.observability.metrics.error_names import error_name
from gateway.observability.metrics.meters import OTHER, Meters
from gateway.observability.metrics.table import (
    REQUEST_BYTES,
    REQUEST_DURATION,
    REQUEST_ERRORS,
    REQUESTS,
)

_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")
}
# 499 as nginx has it: the client left before its answer.
_CODES: Final = {each: str(each) for each in (*(status.value for status in HTTPStatus), 499)}


class RequestMeters:
    """Counts requests. A request costs some two microseconds here."""

    __slots__ = ("_meters",)

    def __init__(self, meters: Meters | None = None) -> None:
        self._meters = Meters() if meters is None else meters

    def answered(self, exchange: Exchange, error: Exception | None) -> None:
        """Count an exchange that is over, or upgraded; ``error`` ended it."""
        meters = self._meters
        route = controller = ""
        if exchange.routed:
            match = exchange.match
            route, controller = match.route.id, match.controller_id
        status = exchange.status
        if error is not None:
            if status is None:
                status = outcome_of(error).status
            meters.count(REQUEST_ERRORS, route, controller, error_name(error))
        method = _METHODS.get(exchange.request.method, OTHER)
        meters.count(REQUESTS, route, controller, method, _code(status))
        taken = trio.current_time() - exchange.received_at
        meters.observe(REQUEST_DURATION, taken, route, controller)
        if exchange.body_received:
            size = exchange.body_received
            meters.count(REQUEST_BYTES, route, controller, "from_client", by=size)
        if exchange.body_sent:
            meters.count(REQUEST_BYTES, route, controller, "to_client", by=exchange.body_sent)

    def refused(self, error: GatewayError) -> None:
        """Count what never became a request."""
        self._meters.count(REQUESTS, "", "", OTHER, _code(outcome_of(error).status))
        self._meters.count(REQUEST_ERRORS, "", "", error_name(error))


def _code(status: int | None) -> str:
    return OTHER if status is None else _CODES.get(status, OTHER)
