"""Where log lines go, how they look, which are wanted; and whose trace ids are believed.

Owns: the keys ``log`` and ``trace_context``, their defaults and the reasons.

Must not know: files, terminals, what is logged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.config.base import Model
from gateway.config.values import FileContext

Level = Literal["debug", "info", "warning", "error"]
CHANNELS: Final = ("access", "session", "audit", "system")
# Those whose lines have a level.
LEVELLED: Final = ("session", "audit", "system")


def _kind_of_destination(value: Any) -> str:
    return "(word)" if value in ("stdout", "stderr", "off") else "(path)"


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """As other paths of the file; but it is not watched, or every line would be a reload."""
    return info.context.base / path if isinstance(info.context, FileContext) else path


# The tags appear in pydantic's error locations; load drops everything in parentheses from them.
Destination = Annotated[
    Annotated[Literal["stdout", "stderr", "off"], Tag("(word)")]
    | Annotated[Path, AfterValidator(_resolve), Tag("(path)")],
    Discriminator(_kind_of_destination),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "description": "stdout, stderr, off, or a path"}
    ),
]

_TO: Final = (
    "stdout, stderr, off, or a file, relative to the configuration file. Files are appended to, and"
    " made with 0640; SIGUSR1 opens them again, after logrotate has moved them away."
)


class AccessLogConfig(Model):
    """Channel access: one line a request."""

    to: Destination = Field(
        default="stdout",
        description=f"{_TO} stdout, so that requests can be had without the events.",
    )
    format: Literal["auto", "json", "console", "combined"] | None = Field(
        default=None,
        description=(
            "As log.format, which is the default; or combined, what nginx and httpd write, for"
            " their tools."
        ),
    )


class ChannelConfig(Model):
    """A channel of events."""

    to: Destination = Field(default="stderr", description=_TO)
    format: Literal["auto", "json", "console"] | None = Field(
        default=None, description="As log.format, which is the default."
    )
    level: Level | None = Field(
        default=None, description="The least level that is written. Default: log.level."
    )


class AuditConfig(ChannelConfig):
    """Channel audit: what happened to credentials."""

    level: Level | None = Field(
        default="info",
        description=(
            "The least level that is written. info, whatever log.level is: who silences chatter"
            " does not mean the trail."
        ),
    )


class LogConfig(Model):
    """Logs: four channels, each with its destination, format and level."""

    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description=(
            "json: a line is an object, in ASCII, with OpenTelemetry's names. console: for people,"
            " with colour on a terminal unless NO_COLOR is set. auto: console on a terminal, else"
            " json."
        ),
    )
    level: Level = Field(
        default="info",
        description="The least level that is written, where a channel does not say otherwise.",
    )
    access: AccessLogConfig = Field(
        default_factory=AccessLogConfig, description="One line a request."
    )
    session: ChannelConfig = Field(
        default_factory=ChannelConfig, description="Sessions, and how controllers' agents fare."
    )
    audit: AuditConfig = Field(
        default_factory=AuditConfig, description="What happened to credentials, and who did it."
    )
    system: ChannelConfig = Field(
        default_factory=ChannelConfig,
        description="Processes, configuration, requests that failed, and everything else.",
    )

    def level_of(self, channel: str) -> Level:
        """Return the level of a channel that has levels."""
        own: Level | None = getattr(self, channel).level
        return own or self.level


class TraceContextConfig(Model):
    """W3C trace context: `traceparent` and `tracestate`."""

    accept: Literal["anyone", "trusted_proxies"] = Field(
        default="anyone",
        description=(
            "From whom a valid traceparent travels on, untouched, with its tracestate. anyone, as"
            " behind nginx and HAProxy: it grants nothing, but whoever sends one chooses the trace"
            " id in logs, and whether controllers that trace record the request. trusted_proxies:"
            " others' are removed."
        ),
    )
    start: Literal["log", "send"] = Field(
        default="log",
        description=(
            "What becomes of the new trace id of a request that brings none, or none that is valid"
            " and accepted. log: it is in log lines only. send: the controller gets it, too,"
            " flagged as sampled. log, because send overrides the sampling of controllers that"
            " trace."
        ),
    )
