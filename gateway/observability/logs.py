"""Structured logs on standard error: JSON lines for machines, coloured columns for people.

Owns: the one structlog configuration, redaction, and the guarantee that a value sent by a stranger
cannot forge a line or drive a terminal; and that a log whose reader stands still or is gone stops
nobody (``lines`` does it). The standard library's loggers (trio reports trouble with
``accept`` through one) end up in the same lines.

Theory of operation: an event is a short lower-case sentence plus fields. Every event passes the
same processors: bound context, level, time, traceback as text, redaction, then one of two
renderers. JSON escapes everything outside printable ASCII. The console renderer gets values that
are escaped before, because terminals obey what they are shown. Secrets are masked by type
(``Secret``), and by name as a second line: any field, at any depth, that is called like a secret,
and any header of such a name in a list of pairs.

Must not know: what is worth logging.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog

from gateway.config.values import Secret
from gateway.observability.lines import DirectWriter, LineOutput, LineWriter, Nowhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

DEFAULT_LEVEL: Final = "info"
# As ``logging`` numbers them, for levels that are values.
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MASK: Final = "***"
_SENSITIVE: Final = frozenset(
    {"secret", "password", "passphrase", "authorization", "cookie", "token", "credentials"}
)
_MAX_DEPTH: Final = 6  # deeper values are shown by their type's name only
# Seconds that a process waits at its end until the readers of its logs have taken the rest.
_CLOSE_TIMEOUT: Final = 2.0
_FIRST: Final = ("time", "level", "channel", "event")


def get_logger(channel: str) -> FilteringBoundLogger:
    """Return a logger whose lines carry ``channel``; usable before ``configure`` is called."""
    return cast("FilteringBoundLogger", structlog.get_logger(channel=channel))


def configure(
    *, level: str = DEFAULT_LEVEL, json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Set up logging for this process, once, before anything is logged.

    ``json``: None chooses JSON unless ``stream`` (default: standard error) is a terminal.
    ``level`` is one of ``LEVELS``.
    """
    out = sys.stderr if stream is None else stream
    is_terminal = out.isatty()
    as_json = not is_terminal if json is None else json
    renderer: list[Processor]
    if as_json:
        renderer = [_order, structlog.processors.JSONRenderer(default=_plain)]
    else:
        colors = is_terminal and not os.environ.get("NO_COLOR")
        renderer = [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=colors,
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
            ),
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            redact,
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines_to(out, name="events"))),
        cache_logger_on_first_use=False,  # module-level loggers exist before this function runs
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(level.upper())


def set_level(level: str) -> None:
    """Change the level of everything that is logged from now on; one of ``LEVELS``."""
    structlog.configure(
        **{**structlog.get_config(), "wrapper_class": structlog.make_filtering_bound_logger(level)}
    )
    logging.getLogger().setLevel(level.upper())


_writers: dict[int, LineWriter] = {}


def lines_to(stream: TextIO | None, *, name: str) -> LineOutput:
    """Return what writes whole lines to ``stream``, or nowhere if there is none; it never fails.

    It never waits either where ``stream`` is this process's standard output or standard error, as
    their readers may stand still. ``name`` is that of the log, for the line that says how much of
    it was lost.
    """
    if stream is None:  # as sys.stdout is where the descriptor was closed from the start
        return Nowhere()
    if not any(stream is each for each in (sys.__stdout__, sys.__stderr__)):
        return DirectWriter(stream)
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # closed
        return DirectWriter(stream)
    if not _writers:
        atexit.register(close_writers)
    if fd not in _writers:
        _writers[fd] = LineWriter(
            fd,
            encoding=stream.encoding,
            on_dropped=partial(_report_dropped, name),
            on_gone=partial(_report_gone, name),
        )
    return _writers[fd]


def _report_dropped(name: str, count: int) -> None:
    get_logger("system").warning(
        "lines of a log were dropped: its reader is too slow", log=name, lines=count
    )


def _report_gone(name: str) -> None:
    get_logger("system").warning("a log has no reader any more", log=name)


def close_writers() -> None:
    """Write what is left, for 2 s at most: where this process ends, or its program is replaced.

    The lower descriptor first, as it may report.
    """
    until = time.monotonic() + _CLOSE_TIMEOUT
    for _, writer in sorted(_writers.items()):
        writer.close(max(0.0, until - time.monotonic()))


def reopen_writers() -> None:
    """Undo ``close_writers``: the program goes on after all."""
    for writer in _writers.values():
        writer.reopen()


class _ToStructlog(logging.Handler):
    """Passes records of the standard library's loggers on, so that there is one kind of line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record under its logger's name."""
        get_logger(record.name).log(
            record.levelno, record.getMessage(), exc_info=record.exc_info or None
        )


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask secrets in an event, by type and by field name (a structlog processor)."""
    return {key: _mask(key, value, 0) for key, value in event.items()}


def _mask(key: object, value: object, depth: int) -> object:
    if isinstance(value, Secret) or (_is_sensitive(key) and not isinstance(value, bool | None)):
        return _MASK
    if isinstance(value, str | bytes | int | float | None):
        return value
    if depth >= _MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {name: _mask(name, item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = tuple(value)
        if len(items) == 2 and isinstance(items[0], str | bytes):  # perhaps a header
            return (items[0], _mask(items[0], items[1], depth + 1))
        return [_mask("", item, depth + 1) for item in items]
    return value


def _is_sensitive(key: object) -> bool:
    name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
    return not _SENSITIVE.isdisjoint(name.lower().replace("-", "_").split("_"))


def _plain(value: object) -> object:
    """Make a JSON value of anything else: bytes as text, the rest as its ``str``."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put the fields every line has in front, so that lines can be read by eye too."""
    return {**{key: event[key] for key in _FIRST if key in event}, **event}


def _escape(logger: WrappedLogger, method: str, event: EventDict) -> Mapping[str, Any]:
    """Escape control characters; a traceback keeps its lines, indented unlike a line of ours."""
    escaped: dict[str, Any] = {}
    for key, value in event.items():
        if key == "exception":
            lines = str(value).splitlines()
            escaped[key] = "\n".join(f"    {_printable(line)}" for line in lines)
        else:
            escaped[key] = _printable(value if isinstance(value, str) else str(_plain(value)))
    return escaped


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
