"""Every metric that there is: name, kind, labels, unit, what it says, how processes add up.

Owns: the table. Documentation, exposition and tests are made from it.

Must not know: where a number comes from.

Labels are bounded: controllers, routes, listeners, addresses and certificates are those of the
configuration, everything else is a word of a short list. Names that strangers choose are in none of
them; nodes' names are in those of ``metrics.per_node`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

PREFIX: Final = "remoting_gateway_"


class Kind(Enum):
    """What a number can do."""

    COUNTER = "counter"  # grows
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Rule(Enum):
    """How the gauges of several workers become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One row. ``buckets``: upper bounds of a histogram, without the infinite one.

    ``unit``: the base unit that the name shows, or nothing for plain numbers.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    rule: Rule = Rule.SUM
    buckets: tuple[float, ...] = ()


_ALL: Final[list[Metric]] = []


def _counter(name: str, text: str, *labels: str, unit: str = "") -> Metric:
    return _row(Metric(f"{PREFIX}{name}_total", Kind.COUNTER, text, labels, unit))


def _gauge(name: str, text: str, *labels: str, unit: str = "", rule: Rule = Rule.SUM) -> Metric:
    return _row(Metric(f"{PREFIX}{name}", Kind.GAUGE, text, labels, unit, rule))


def _seconds(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    name = f"{PREFIX}{name}_seconds"
    return _row(Metric(name, Kind.HISTOGRAM, text, labels, "seconds", buckets=buckets))


def _row(metric: Metric) -> Metric:
    _ALL.append(metric)
    return metric


_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUESTS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Agents give up at 30 s, the gateway at 25.
_HANDSHAKES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 25.0)
# Where idle timers cut: 60 s, 4, 5 and 6 minutes, an hour.
_LIVES: Final = (1.0, 10.0, 30.0, 65.0, 125.0, 245.0, 305.0, 355.0, 605.0, 3605.0, 21600.0, 86400.0)

# -- agents' sessions ------------------------------------------------------------------------------

SESSIONS = _gauge(
    "sessions",
    "Live sessions of agents. State: open; suspect, when a ping was not answered in time;"
    " lingering, when it is open with a worker from before an upgrade; closing.",
    *("controller", "transport", "state"),
)
SESSIONS_OPENED = _counter(
    "sessions_opened", "Sessions of agents that began.", "controller", "transport"
)
SESSIONS_ENDED = _counter(
    "sessions_ended",
    "Sessions of agents that ended, by whom and why: closed (a Close frame), eof (without one),"
    " reset, peer_lost (silent for too long), worker_died (counted as they were seen last), or the"
    " error that ended it. By: agent, controller, gateway.",
    *("controller", "transport", "by", "reason"),
)
SESSION_DURATION = _seconds(
    "session_duration",
    "How long ended sessions of agents had lasted.",
    "controller",
    buckets=_LIVES,
)
SESSION_BYTES = _counter(
    "session_bytes",
    "Bytes of sessions of agents, as the gateway sent them on. Direction: from_agent, to_agent.",
    *("controller", "transport", "direction"),
    unit="bytes",
)
ROUND_TRIP = _seconds(
    "ping_round_trip", "From a ping to an agent to its pong.", "controller", buckets=_FAST
)
TAKEOVERS = _counter(
    "takeovers",
    "Newcomers for a node that the controller said is connected already. Outcome: taken_over (the"
    " newcomer has the node); else why it was refused: alive, unclear, two_agents, kept, not_here,"
    " failed.",
    *("controller", "outcome"),
)

# -- handshakes ------------------------------------------------------------------------------------

HANDSHAKES = _counter(
    "agent_handshakes",
    "Agents that asked for a session. Outcome: accepted, refused_by_controller (a WebSocket"
    " controller's own answer), or the error that refused it.",
    *("controller", "outcome"),
)
HANDSHAKE_DURATION = _seconds(
    "agent_handshake_duration",
    "From an agent's request to its 101, of those accepted.",
    "controller",
    buckets=_HANDSHAKES,
)
PHASE_DURATION = _seconds(
    "agent_handshake_phase_duration",
    "Phases of agents' handshakes: credentials, queue, discovery; then dial, ack, tls and login at"
    " an agent port, or upgrade at a controller that speaks WebSocket. Only finished phases count.",
    *("controller", "phase"),
    buckets=_HANDSHAKES,
)
QUEUE_PLACES = _gauge(
    "handshake_places", "Handshakes that may be under way at a time.", "controller"
)
QUEUE_BUSY = _gauge("handshakes_active", "Handshakes under way.", "controller")
QUEUE_WAITING = _gauge(
    "handshakes_waiting", "Agents in line for a handshake, present.", "controller"
)
QUEUE_EXPECTED = _gauge(
    "handshakes_expected",
    "Agents that asked at /login, hold a number, and are expected to come.",
    "controller",
)
QUEUE_TURNED_AWAY = _counter(
    "handshakes_turned_away", "Agents told to come later, since the line was full.", "controller"
)
LOCKOUTS = _counter(
    "lockouts",
    "Lockouts that began after too many wrong secrets. Scope: address, or node (from one address).",
    *("controller", "scope"),
)
WRONG_SECRETS = _counter(
    "wrong_secrets",
    "Secrets judged wrong. By: gateway, controller.",
    *("controller", "by"),
)

# -- controllers -----------------------------------------------------------------------------------

DIAL_DURATION = _seconds(
    "controller_dial_duration",
    "From the attempt to a usable connection to the controller's url: TCP and TLS.",
    "controller",
    buckets=_FAST,
)
DIAL_FAILURES = _counter(
    "controller_dial_failures",
    "Connections to the controller's url that could not be made. Reason: unreachable, timeout.",
    *("controller", "reason"),
)
ADDRESS_UP = _gauge(
    "controller_address_up",
    "1 for an address that is in use; 0 where a health check, or failures in a row, took it out.",
    *("controller", "address"),
    rule=Rule.MIN,
)
POOL_CONNECTIONS = _gauge(
    "controller_pool_connections",
    "Connections to the controller's url that are kept between requests. State: idle, busy.",
    *("controller", "state"),
)
POOL_WAITING = _gauge(
    "controller_pool_waiting",
    "Requests that wait for a connection to the controller.",
    "controller",
)

# -- HTTP ------------------------------------------------------------------------------------------

REQUESTS = _counter(
    "http_requests",
    "Requests that were answered, upgrades included. Route: empty where none fits. Method: other"
    " for unusual ones. Code: 499 where the client left before, other for codes nobody registered.",
    *("route", "controller", "method", "code"),
)
REQUEST_DURATION = _seconds(
    "http_request_duration",
    "From a request's head to the end of its answer; to the 101 for upgrades.",
    *("route", "controller"),
    buckets=_REQUESTS,
)
REQUEST_BYTES = _counter(
    "http_body_bytes",
    "Bytes of bodies. Direction: from_client, to_client.",
    *("route", "controller", "direction"),
    unit="bytes",
)
REQUEST_ERRORS = _counter(
    "http_request_errors",
    "Requests that the gateway itself refused, or that failed, by kind of error.",
    *("route", "controller", "error"),
)
WEBSOCKETS = _gauge(
    "websockets",
    "Open WebSockets that are not agents' sessions: people's, and those of CLI clients.",
    "controller",
)

# -- connections of clients ------------------------------------------------------------------------

CONNECTIONS = _gauge("connections", "Connections of clients, sessions included.")
CONNECTIONS_LIMIT = _gauge("connections_limit", "How many connections of clients there may be.")
CONNECTIONS_ACCEPTED = _counter("connections_accepted", "Connections that were given a place.")
CONNECTIONS_REFUSED = _counter(
    "connections_refused",
    "Connections that came to nothing. Reason: limit, address_limit, tls_handshake, proxy_protocol;"
    " shortage counts attempts to accept without descriptors or memory.",
    "reason",
)
TLS_DURATION = _seconds(
    "tls_handshake_duration", "TLS handshakes of clients that succeeded.", buckets=_FAST
)
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds",
    "When the certificate that is shown to clients ends. Unix time.",
    *("listener", "certificate"),
    unit="seconds",
    rule=Rule.MIN,
)

# -- the program -----------------------------------------------------------------------------------

BUILD = _gauge("build_info", "Always 1; the labels say what runs.", "version", "python")
READY = _gauge("ready", "1 while clients are served and the gateway is not draining.")
DRAINING = _gauge("draining", "1 once the gateway has been told to end.")
START = _gauge(
    "start_timestamp_seconds",
    "When the gateway started, before all upgrades. Unix time.",
    unit="seconds",
)
INCARNATION = _gauge("incarnation", "Which program this is: 1, and one more for each upgrade.")
UPGRADING = _gauge("upgrading", "1 while the new workers of an upgrade do not serve yet.")
GENERATION = _gauge("config_generation", "The number of the configuration in force.")
RELOADS = _counter(
    "config_reloads", "Reloads, upgrades included. Result: success, failure.", "result"
)
RELOAD_OK = _gauge(
    "config_last_reload_successful",
    "0 if the last reload was refused, and the configuration before it stays in force.",
)
RELOAD_AT = _gauge(
    "config_last_reload_success_timestamp_seconds",
    "When the configuration in force was put into force. Unix time.",
    unit="seconds",
)
WORKERS = _gauge(
    "workers", "Worker processes. State: starting, serving, lingering, stopping.", "state"
)
WORKER_UP = _gauge(
    "worker_up",
    "0 for a worker that serves but did not answer this time; what it said last is shown. Worker:"
    " incarnation and slot.",
    "worker",
)
WORKER_SESSIONS = _gauge(
    "worker_sessions", "Sessions of agents with a worker, closing ones too.", "worker"
)
WORKER_LINGER = _gauge(
    "worker_linger_until_timestamp_seconds",
    "When a worker from before an upgrade ends the sessions that it still has. Unix time.",
    "worker",
    unit="seconds",
)
WORKER_RESTARTS = _counter(
    "worker_restarts", "Workers that died or were killed, and were replaced."
)
WORKER_MEMORY = _gauge(
    "worker_resident_memory_bytes", "Resident memory of a worker.", "worker", unit="bytes"
)
SUPERVISOR_MEMORY = _gauge(
    "supervisor_resident_memory_bytes", "Resident memory of the supervisor.", unit="bytes"
)
SERIES_DROPPED = _counter(
    "metric_series_dropped",
    "Values counted without their labels (all of them other), since their metric had too many.",
)

# -- with metrics.per_node alone -------------------------------------------------------------------

NODE_START = _gauge(
    "node_session_start_timestamp_seconds",
    "When the live session of a node began. Unix time. With metrics.per_node only.",
    *("controller", "node"),
    unit="seconds",
    rule=Rule.MAX,
)
NODE_BYTES = _gauge(
    "node_session_bytes",
    "Bytes of the live session of a node. Direction: from_agent, to_agent. With metrics.per_node"
    " only.",
    *("controller", "node", "direction"),
    unit="bytes",
)
NODE_ROUND_TRIP = _gauge(
    "node_ping_round_trip_seconds",
    "Of the last answered ping to a node. With metrics.per_node only.",
    *("controller", "node"),
    unit="seconds",
    rule=Rule.MAX,
)
NODES_LEFT_OUT = _gauge(
    "nodes_left_out",
    "Live sessions of nodes that are not shown one by one: more than metrics.nodes. With"
    " metrics.per_node only.",
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}
# What is there only if the configuration says so.
PER_NODE: Final = (NODE_START, NODE_BYTES, NODE_ROUND_TRIP, NODES_LEFT_OUT)
