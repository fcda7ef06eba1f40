"""Timers of boxes that stand between agents, gateway and controllers, by their length.

Owns: the table of defaults and of values in the vendors' own examples, each with its source; which
of them a length that was found could be.

Must not know: how a length is found.

``docs/operations.md`` shows this table to operators; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

# How far a length that was measured may be from the one in the table, seconds.
TOLERANCE: Final = 1.0


class Counts(Enum):
    """What restarts a timer."""

    IDLE = "any byte"
    AGE = "nothing"


@dataclass(frozen=True, slots=True)
class KnownTimer:
    """One timer as its vendor ships or shows it. ``source`` is where that is written."""

    seconds: float
    name: str
    counts: Counts
    source: str


# Also nginx's counts both ways after an upgrade, whatever "read" in its name suggests: each pass of
# data in either direction sets it anew (ngx_http_upstream.c, process_upgraded).
KNOWN_TIMERS: Final = (
    KnownTimer(
        30,
        "OpenShift router (client timeout)",
        Counts.IDLE,
        "https://github.com/alebedev87/haproxy-timeout-tunnel",
    ),
    KnownTimer(
        30,
        "Google Cloud Application Load Balancer",
        Counts.AGE,
        "https://cloud.google.com/load-balancing/docs/https#timeout-bes",
    ),
    KnownTimer(
        50,
        "IBM Cloud ALB",
        Counts.IDLE,
        "https://cloud.ibm.com/docs/vpc?topic=vpc-alb-updating",
    ),
    KnownTimer(
        60,
        "nginx",
        Counts.IDLE,
        "https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_read_timeout",
    ),
    KnownTimer(
        60,
        "AWS ALB",
        Counts.IDLE,
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
        "edit-load-balancer-attributes.html",
    ),
    KnownTimer(
        60,
        "HAProxy examples",
        Counts.IDLE,
        "https://github.com/haproxy/haproxy/blob/master/examples/quick-test.cfg",
    ),
    KnownTimer(
        240,
        "Azure Load Balancer",
        Counts.IDLE,
        "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout",
    ),
    KnownTimer(
        300,
        "Envoy (stream_idle_timeout)",
        Counts.IDLE,
        "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ),
    KnownTimer(
        350,
        "AWS NLB",
        Counts.IDLE,
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html",
    ),
    KnownTimer(
        3600,
        "Envoy (tcp_proxy)",
        Counts.IDLE,
        "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ),
)


def timers_of(seconds: float, counts: Counts) -> tuple[KnownTimer, ...]:
    """Return the known timers that a measured length of ``seconds`` could be."""
    return tuple(
        timer
        for timer in KNOWN_TIMERS
        if timer.counts is counts and abs(timer.seconds - seconds) <= TOLERANCE
    )
