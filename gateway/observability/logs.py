"""Structured logs: JSON lines for machines, coloured columns for people.

Owns: the one structlog configuration, where each channel's lines go and which are wanted, and the
guarantee that a value sent by a stranger cannot forge a line or drive a terminal; and that a log
whose reader stands still or is gone stops nobody (``lines`` does it). The standard library's
loggers (trio reports trouble with ``accept`` through one) end up in the same lines.

Theory of operation: an event is a short lower-case sentence plus fields. Every event passes the
same processors: its channel's level, bound context, time, traceback as text, redaction, bounds
(``log_values``); then the fields get their names (``log_fields``) and the line its form. JSON
escapes everything outside printable ASCII. The console renderer gets values that are escaped
before, because terminals obey what they are shown. Secrets are masked by type (``Secret``), and by
name as a second line: any field, at any depth, that is called like a secret, and any header of such
a name in a list of pairs.

What is set here holds for the process, as its standard streams do: ``configure`` first, ``apply``
once there is a configuration and whenever there is another one, ``override_level`` when somebody
wants to see more.

Must not know: what is worth logging.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog

from gateway.config.logs import CHANNELS, LEVELLED, LogConfig
from gateway.errors import ConfigError
from gateway.observability import log_outputs
from gateway.observability.lines import LineOutput, Nowhere
from gateway.observability.log_fields import publish
from gateway.observability.log_outputs import lines_to, lines_to_file
from gateway.observability.log_values import bounded, escape, explain, plain, redact

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

DEFAULT_LEVEL: Final = "info"
# As ``logging`` numbers them, for levels that are values.
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Characters of a line; values are cut shorter until it fits.
MAX_LINE: Final = 64 * 1024
_CUTS: Final = (2048, 256, 32)  # characters of a value
_FIRST: Final = ("time", "level", "channel", "event")


class Sink:
    """Where the lines of one channel go, how they look, and from which level on they are wanted.

    ``form``: json, console, combined, or off.
    """

    __slots__ = ("console", "form", "level", "output")

    def __init__(self) -> None:
        self.form = "off"
        self.output: LineOutput = Nowhere()
        self.level = LEVELS["info"]
        self.console: structlog.dev.ConsoleRenderer | None = None

    def set(self, output: LineOutput, form: str, *, colors: bool) -> None:
        """Have lines go to ``output`` from now on."""
        self.output, self.form = output, form
        self.console = None
        if form == "console":
            self.console = structlog.dev.ConsoleRenderer(
                colors=colors,
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
            )


_sinks: Final = {channel: Sink() for channel in CHANNELS}
_applied: LogConfig | None = None
_base: str = DEFAULT_LEVEL  # before there is a configuration
_override: str | None = None  # what an operator wants for now


def get_logger(channel: str) -> FilteringBoundLogger:
    """Return a logger whose lines carry ``channel``; usable before ``configure`` is called."""
    return cast("FilteringBoundLogger", structlog.get_logger(channel=channel))


def sink_of(channel: str) -> Sink:
    """Return where a channel's lines go; what it says changes with ``apply``."""
    return _sinks[channel]


# -- setting up ------------------------------------------------------------------------------------


def configure(
    *, level: str = DEFAULT_LEVEL, json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Set up logging for this process, once, before anything is logged.

    All events go to ``stream`` (default: standard error) until ``apply`` says otherwise. ``json``:
    None chooses JSON unless it is a terminal. ``level`` is one of ``LEVELS``.
    """
    global _applied, _base, _override
    _applied, _base, _override = None, level, None
    out = sys.stderr if stream is None else stream
    form = "json" if (not out.isatty() if json is None else json) else "console"
    for channel in LEVELLED:
        _sinks[channel].set(lines_to(out, name="events"), form, colors=_wants_color(out))
    log_outputs.report_to(_report_lost, _report_gone)
    structlog.configure(
        processors=[
            _choose,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            explain,
            redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=_SinkLogger,
        cache_logger_on_first_use=False,  # module-level loggers exist before this function runs
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    _set_levels()


def check(config: LogConfig) -> None:
    """Raise ConfigError if a file that ``config`` names cannot be opened."""
    for channel in CHANNELS:
        destination = getattr(config, channel).to
        if isinstance(destination, Path):
            log_outputs.check_file(destination)


def apply(config: LogConfig) -> None:
    """Have lines go where ``config`` says; without effect where it says what it said before.

    A level that overrides the configured ones goes on doing so. Raises ConfigError, and changes
    nothing, if a file cannot be opened.
    """
    global _applied
    if config == _applied:
        return
    opened = {channel: _output(channel, config) for channel in CHANNELS}
    for channel, (output, form, colors) in opened.items():
        _sinks[channel].set(output, form, colors=colors)
    _applied = config
    _set_levels()
    destinations = [getattr(config, channel).to for channel in CHANNELS]
    log_outputs.keep_files([each for each in destinations if isinstance(each, Path)])


def apply_or_complain(config: LogConfig) -> None:
    """Do as ``apply``; where that cannot be, lines go on as before, and one of them says why."""
    try:
        apply(config)
    except ConfigError as error:
        get_logger("system").error("a log cannot be opened", reason=str(error))


def _output(channel: str, config: LogConfig) -> tuple[LineOutput, str, bool]:
    settings = getattr(config, channel)
    if settings.to == "off":
        return Nowhere(), "off", False
    form = settings.format or config.format
    if isinstance(settings.to, Path):
        return lines_to_file(settings.to), "json" if form == "auto" else form, False
    stream: TextIO | None = log_outputs.STREAMS[settings.to]()
    is_terminal = stream is not None and stream.isatty()
    if form == "auto":
        form = "console" if is_terminal else "json"
    name = "access" if settings.to == "stdout" else "events"
    return lines_to(stream, name=name), form, _wants_color(stream)


def _wants_color(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


# -- while it runs ---------------------------------------------------------------------------------


def levels() -> dict[str, str]:
    """Return the level of each channel that has one."""
    names = {number: name for name, number in LEVELS.items()}
    return {channel: names[_sinks[channel].level] for channel in LEVELLED}


def override_level(level: str | None) -> None:
    """Log session and system from ``level`` on, whatever is configured; None: as configured.

    The audit trail stays as it is. Raises ConfigError for a level that is not known.
    """
    global _override
    if level is not None and level not in LEVELS:
        raise ConfigError(f'level: found "{level}"; allowed: {", ".join(LEVELS)}')
    _override = level
    _set_levels()


def _set_levels() -> None:
    for channel in LEVELLED:
        name = _base if _applied is None else _applied.level_of(channel)
        if _override is not None and channel != "audit":
            name = _override
        _sinks[channel].level = LEVELS[name]
    logging.getLogger().setLevel(_least())


def reopen() -> None:
    """Open log files again: they were moved away."""
    for reason in log_outputs.reopen_files():
        get_logger("system").error("a log cannot be opened", reason=reason)


def _least() -> int:
    """Return what the standard library's loggers need not say at all."""
    return _sinks["system"].level


def _report_lost(name: str, count: int) -> None:
    get_logger("system").warning(
        "lines of a log were dropped: its reader is too slow", log=name, lines=count
    )


def _report_gone(name: str) -> None:
    get_logger("system").warning("a log has no reader any more", log=name)


class _ToStructlog(logging.Handler):
    """Passes records of the standard library's loggers on, so that there is one kind of line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record in channel system, with its logger's name."""
        get_logger("system").log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info or None,
        )


# -- from an event to a line -----------------------------------------------------------------------


class _SinkLogger:
    """What structlog hands finished lines to, with their sink."""

    def __init__(self, *args: object) -> None:
        pass

    def msg(self, output: LineOutput, line: str) -> None:
        """Write a line."""
        output.write(line + "\n")
        output.flush()

    debug = info = warning = error = critical = exception = log = fatal = warn = msg


def _choose(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Drop what is below its channel's level. What belongs to none of the channels is system's."""
    channel = event.get("channel")
    if channel not in LEVELLED:
        if channel is not None:
            event["logger"] = channel
        event["channel"] = channel = "system"
    sink = _sinks[channel]
    if sink.form == "off" or LEVELS.get(method, LEVELS["error"]) < sink.level:
        raise structlog.DropEvent
    return event


def _render(
    logger: WrappedLogger, method: str, event: EventDict
) -> tuple[tuple[LineOutput, str], dict[str, Any]]:
    sink = _sinks[event["channel"]]
    line = ""
    for cut in _CUTS:
        line = _line(logger, method, bounded(event, cut), sink)
        if len(line) <= MAX_LINE:
            break
    return (sink.output, line), {}


def _line(logger: WrappedLogger, method: str, event: EventDict, sink: Sink) -> str:
    fields = publish({**{key: event[key] for key in _FIRST if key in event}, **event})
    if sink.console is None:
        return json.dumps(fields, default=plain)
    stack = fields.pop("exception.stacktrace", None)
    escaped = escape(fields)
    line = str(sink.console(logger, method, escaped))
    if stack is None:
        return line
    # A traceback keeps its lines, indented unlike a line of ours.
    lines = "\n".join(f"    {escape({'': each})['']}" for each in str(stack).splitlines())
    return f"{line}\n{lines}"
