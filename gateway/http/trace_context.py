"""W3C trace context: to which trace a request belongs, and what the controller is told of that.

Owns: what a valid ``traceparent`` is (W3C Trace Context, Recommendation of 2021, section 3.2), whom
to believe about one, and making trace ids. Must not know: logs, where requests go.

A valid ``traceparent`` that is accepted travels on as it came, with its ``tracestate``: the gateway
records no span, so it must not put itself between a caller's and a controller's (section 3.4 lets
such a participant pass both on). Any other is removed, and ``tracestate`` with it, since it means
nothing without (section 3.3); the request then has a new trace id, by which its log lines belong
together, and which the controller gets where that is configured.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final

from gateway.config.logs import TraceContextConfig
from gateway.protocol.http_headers import Field, Headers

FIELDS: Final = frozenset({b"traceparent", b"tracestate"})
# Lower case only. A version above 00 may go on after another "-"; ff is forbidden.
_VALID: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace of one request.

    ``passes``: the fields that came go on untouched; else they are removed, and ``own``, if there
    is one, takes their place.
    """

    trace_id: str
    passes: bool = True
    own: Field | None = None


def trace_of(headers: Headers, config: TraceContextConfig, *, trusted: bool) -> TraceContext:
    """Return the trace of a request; ``trusted`` is the TCP peer."""
    if trusted or config.accept == "anyone":
        trace_id = given_trace_id(headers)
        if trace_id is not None:
            return TraceContext(trace_id)
    trace_id = f"{random.getrandbits(128) or 1:032x}"
    if config.start == "log":
        return TraceContext(trace_id, passes=False)
    value = f"00-{trace_id}-{random.getrandbits(64) or 1:016x}-01"
    return TraceContext(trace_id, passes=False, own=(b"traceparent", value.encode()))


def given_trace_id(headers: Headers) -> str | None:
    """Return the trace id in ``traceparent`` if it is the only one and valid."""
    if b"traceparent" not in headers:
        return None
    values = headers.get_all(b"traceparent")
    match = _VALID.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or (match[1] == b"00" and match[3] is not None):
        return None
    return match[2].decode("ascii")
