"""Every field of a log line: what the code calls it, what it is called in the line, what it means.

Owns: the names. OpenTelemetry's semantic conventions where they have one; ``jenkins.*`` for what
Jenkins' people know by name, ``gateway.*`` for the rest. The code logs short keywords
(``node=...``), and ``publish`` gives them their names on the way out, so that a name is said once.

Must not know: who logs what; how a line looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

OTEL: Final = "OpenTelemetry"
OWN: Final = "gateway"


@dataclass(frozen=True, slots=True)
class LogField:
    """A field of log lines. ``channels``: where it is found, "all" or names."""

    keyword: str
    name: str
    meaning: str
    unit: str = ""
    channels: str = "system"

    @property
    def origin(self) -> str:
        """Say who made the name up."""
        return OWN if self.name.startswith(("gateway.", "jenkins.")) else OTEL


_SESSION: Final = "session"
_NAMES: Final = "session, audit, system"

# In every line, under these very names; OpenTelemetry's data model of a log calls them Timestamp,
# SeverityText, EventName.
HEAD: Final = (
    LogField("time", "time", "when it was logged: UTC, RFC 3339", channels="all"),
    LogField("level", "level", "debug, info, warning or error", channels="session, audit, system"),
    LogField("channel", "channel", "access, session, audit or system", channels="all"),
    LogField("event", "event", "what happened: see the events", channels="session, audit, system"),
)

FIELDS: Final = (
    *HEAD,
    LogField(
        "trace_id",
        "trace_id",
        "of the trace that the request belongs to, by its `traceparent`, or a new one",
        channels="access, session, system",
    ),
    # What went wrong in the program.
    LogField("exception_type", "exception.type", "class of an exception"),
    LogField("exception_message", "exception.message", "its text"),
    LogField("exception", "exception.stacktrace", "its traceback", channels="session, system"),
    LogField("logger", "gateway.logger", "the library that logged it, where that is not ours"),
    # Who and where.
    LogField("client", "client.address", "the client, behind proxies that are believed", "", "all"),
    LogField("client_port", "client.port", "its TCP port, where it is the connection's own peer"),
    LogField("controller", "jenkins.controller.name", "the name in `controllers`", channels="all"),
    LogField("node", "jenkins.node.name", "as the agent says it", channels=_NAMES),
    LogField("route", "gateway.route.id", "`id` of the route", channels="access, session"),
    LogField(
        "controller_address",
        "gateway.controller.address",
        "address and port of the controller's end",
        channels=_SESSION,
    ),
    LogField("address", "gateway.controller.address", "the same", channels="session, system"),
    LogField(
        "session",
        "gateway.session.id",
        "the session; also the id of the request that began it",
        channels=_SESSION,
    ),
    LogField(
        "error_id",
        "gateway.request.id",
        "the request, as in `X-Request-Id` and `X-Gateway-Error-Id`",
        channels="session, system",
    ),
    # Requests.
    LogField("method", "http.request.method", "of the request", channels="access, system"),
    LogField("path", "url.path", "without secrets, cut", channels="access, session, system"),
    LogField(
        "status",
        "http.response.status_code",
        "of the answer; 499: the client left before",
        channels="access, session, system",
    ),
    LogField("bytes", "gateway.request.head.size", "of the head", "By"),
    LogField("largest_field", "gateway.request.head.largest", "name of its largest field"),
    LogField("largest_field_bytes", "gateway.request.head.largest_size", "its size", "By"),
    # Sessions.
    LogField("transport", "gateway.transport", "jnlp4, websocket, http", "", "session, audit"),
    LogField("tls", "tls.protocol.version", "of the client's leg", channels="access, session"),
    LogField(
        "by",
        "gateway.side",
        "who ended or refused: agent, client, controller, gateway",
        "",
        "session, audit",
    ),
    LogField(
        "how",
        "gateway.session.outcome",
        "closed (a Close frame), eof, reset, or other",
        channels=_SESSION,
    ),
    LogField("reason", "gateway.reason", "why, in words", channels="session, audit, system"),
    LogField("remedy", "gateway.remedy", "what to do about it", channels="session, system"),
    LogField("rows", "gateway.rows", "of a table in state_dir", "1", "session"),
    LogField("close_code", "gateway.session.close_code", "WebSocket's, RFC 6455 7.4", "", _SESSION),
    LogField("duration_s", "gateway.session.duration", "of the session", "s", _SESSION),
    LogField("bytes_from_agent", "gateway.agent.received", "from the agent", "By", _SESSION),
    LogField("bytes_to_agent", "gateway.agent.sent", "to the agent", "By", _SESSION),
    LogField("bytes_from_client", "gateway.client.received", "from a client", "By", _SESSION),
    LogField("bytes_to_client", "gateway.client.sent", "to a client", "By", _SESSION),
    LogField("agent_idle_s", "gateway.agent.received_idle", "since the agent sent", "s", _SESSION),
    LogField(
        "to_agent_idle_s", "gateway.agent.sent_idle", "since it was sent something", "s", _SESSION
    ),
    LogField("client_idle_s", "gateway.client.received_idle", "since a client sent", "s", _SESSION),
    LogField(
        "to_client_idle_s", "gateway.client.sent_idle", "since it was sent something", "s", _SESSION
    ),
    LogField(
        "controller_idle_s",
        "gateway.controller.received_idle",
        "since the controller sent",
        "s",
        _SESSION,
    ),
    LogField(
        "to_controller_idle_s",
        "gateway.controller.sent_idle",
        "since it was sent something",
        "s",
        _SESSION,
    ),
    LogField(
        "round_trip_ms", "gateway.round_trip", "of the client's last answered ping", "ms", _SESSION
    ),
    LogField(
        "controller_round_trip_ms",
        "gateway.controller.round_trip",
        "of the controller's last answered ping",
        "ms",
        _SESSION,
    ),
    LogField(
        "config_generation",
        "gateway.config.generation",
        "number of the configuration it lived under",
        channels=_SESSION,
    ),
    LogField("after_s", "gateway.takeover.duration", "until the node was free", "s", _SESSION),
    LogField("with_cookie", "gateway.takeover.cookie", "by the old session's cookie", "", _SESSION),
    # Keys and timers found on the way.
    LogField("fingerprint", "gateway.identity.fingerprint", "of a pinned key", channels=_SESSION),
    LogField("expected", "gateway.identity.expected", "fingerprint configured", "", _SESSION),
    LogField("pinned", "gateway.identity.pinned", "fingerprint in state_dir", "", _SESSION),
    LogField("discovered", "gateway.identity.discovered", "fingerprint stated now", "", _SESSION),
    LogField("leg", "gateway.timer.leg", "agent or controller", channels=_SESSION),
    LogField("network", "gateway.timer.network", "the peers' network", channels=_SESSION),
    LogField(
        "measure", "gateway.timer.measure", "what clusters: an idle time or age", "", _SESSION
    ),
    LogField("seconds", "gateway.timer.value", "where it clusters", "s", _SESSION),
    LogField("count", "gateway.count", "how many, of sessions or of the same event", "", _NAMES),
    LogField("total", "gateway.timer.total", "sessions looked at", channels=_SESSION),
    LogField("first_at", "gateway.timer.first", "Unix time of the first", "s", _SESSION),
    LogField("last_at", "gateway.timer.last", "Unix time of the last", "s", _SESSION),
    LogField("ping_interval_s", "gateway.timer.ping_interval", "in force", "s", _SESSION),
    LogField("known", "gateway.timer.known", "products that have such a timer", "", _SESSION),
    LogField("chance", "gateway.timer.chance", "that it is chance, at most", "1", _SESSION),
    LogField("text", "gateway.timer.text", "the finding in words", channels=_SESSION),
    # The Jenkins CLI.
    LogField("command", "jenkins.cli.command", "name of the command, cut", "", "audit"),
    LogField("user", "jenkins.cli.user", "the name claimed by Basic authentication", "", "audit"),
    LogField("arguments", "jenkins.cli.arguments", "cut; `cli.audit: arguments`", "", "audit"),
    LogField("arguments_count", "jenkins.cli.arguments_count", "all of them", "", "audit"),
    LogField("exit_code", "jenkins.cli.exit_code", "of the command", "", "session, audit"),
    LogField("origin", "gateway.cli.origin", "the origin that was shown", channels=_SESSION),
    LogField("operation", "gateway.cli.operation", "number of a message's kind", "", _SESSION),
    # Credentials.
    LogField("operator", "gateway.operator", "who did it, as the system knows", "", "audit"),
    LogField("at", "gateway.audit.time", "when it was done, UTC", "", "audit"),
    LogField("repeated", "gateway.audit.repeated", "times in the last minute", "", "audit"),
    LogField("lock_s", "gateway.lockout.duration", "of the lock", "s", "audit"),
    LogField("records", "gateway.lockout.records", "failures forgotten", "", "audit"),
    LogField("mode", "gateway.credentials.mode", "who judges secrets"),
    LogField("in_force", "gateway.credentials.in_force", "which key is used meanwhile"),
    LogField("details", "gateway.audit.details", "what an operator's command changed", "", "audit"),
    # Processes.
    LogField("worker", "gateway.worker.pid", "process id of a worker"),
    LogField("worker_ended", "gateway.worker.end", "how the process ended"),
    LogField("listeners", "gateway.listeners", "addresses that accept"),
    LogField("slot", "gateway.slot", "number of a worker's sockets"),
    LogField("pause_s", "gateway.pause", "until the next try", "s"),
    LogField("sessions", "gateway.sessions", "open agents' sessions"),
    LogField("connections", "gateway.connections", "open connections"),
    LogField("spread_s", "gateway.stop.spread", "time over which sessions end", "s"),
    LogField("timeout_s", "gateway.stop.timeout", "until what is left is cut", "s"),
    LogField("signal", "gateway.signal", "signal or command that asked for it"),
    LogField("trigger", "gateway.trigger", "what asked for a reload or upgrade"),
    LogField("generation", "gateway.config.generation", "number of a configuration"),
    LogField("warning", "gateway.config.warning", "what `check` warns of"),
    LogField("incarnation", "gateway.incarnation", "1, and one more with each upgrade"),
    LogField("version", "service.version", "of this program"),
    LogField("state_dir", "gateway.state_dir", "the folder"),
    LogField("mode_bits", "gateway.state_dir_mode", "its permissions, octal"),
    LogField("limit", "gateway.descriptors.limit", "open files that are allowed"),
    LogField("recommended", "gateway.descriptors.recommended", "that should be"),
    LogField("log", "gateway.log.output", "an output of the log"),
    LogField("lines", "gateway.log.lost", "lines that were lost"),
)

# Of the access channel only; its lines are written without keywords, for speed.
ACCESS_FIELDS: Final = (
    LogField("", "gateway.request.id", "the request, as in `X-Request-Id`", "", "access"),
    LogField("", "network.peer.address", "the TCP peer, which may be a proxy", "", "access"),
    LogField("", "url.scheme", "http or https, as the client saw it", "", "access"),
    LogField("", "server.address", "the host that the client asked for", "", "access"),
    LogField("", "url.query", "secrets masked, cut", "", "access"),
    LogField("", "http.server.request.duration", "until the answer was sent", "s", "access"),
    LogField("", "http.request.body.size", "that came", "By", "access"),
    LogField("", "http.response.body.size", "that was sent", "By", "access"),
    LogField(
        "",
        "gateway.controller.duration",
        "until the head of the controller's answer",
        "s",
        "access",
    ),
    LogField("", "user_agent.original", "`User-Agent`, cut", "", "access"),
    LogField("", "network.protocol.version", "of HTTP", "", "access"),
    LogField("", "tls.client.subject", "of the client's certificate", "", "access"),
    LogField("", "error.type", "the error that ended the exchange", "", "access"),
)

BY_KEYWORD: Final[Mapping[str, LogField]] = {each.keyword: each for each in FIELDS}


def publish(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event under the names of its fields.

    A keyword that is not in the table, as a library's may be, is ``gateway.other.KEYWORD``.
    """
    named: dict[str, Any] = {}
    for keyword, value in event.items():
        known = BY_KEYWORD.get(keyword)
        named[f"gateway.other.{keyword}" if known is None else known.name] = value
    return named


def all_fields() -> Iterable[LogField]:
    """Yield each published field once, in the order of the table."""
    seen: set[str] = set()
    for each in (*FIELDS, *ACCESS_FIELDS):
        if each.name not in seen:
            seen.add(each.name)
            yield each
