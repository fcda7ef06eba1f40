"""The access log: one line a request, for machines or in the form that nginx and httpd write.

Owns: both forms, which names the fields have (OpenTelemetry's, where it has one), and what of a
request is never written: cookies, ``Authorization`` and whatever else is a header that is not named
here (``target`` knows what of the address).

Must not know: when a request is over, who reads the lines.

Lines go to standard output, so that they can be had without the events on standard error. Nothing
that a stranger sends can end a line or drive a terminal: JSON is written in ASCII, and ``combined``
escapes as nginx does. A line costs a noticeable part of what a small request does, so this is
written plainly: no dictionary, no general encoder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _in_json
from typing import Final, Literal

from gateway.observability.logs import lines_to
from gateway.observability.target import redact_path, redact_query

_MAX_TEXT: Final = 1024  # characters of a path, query, referrer or user agent
_PORT: Final = re.compile(rb":[0-9]*\Z")  # the gate lets no bare IPv6 address pass as Host
_USER_INFO: Final = re.compile(r"//[^/@]*@")
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """What is known of one request when it has been answered. Times in seconds, sizes in bytes.

    ``method``, ``target`` and what follows from them are None where no head could be read.
    ``status``: None where the client got none. ``upstream``: from the attempt to reach the
    controller to the head of its answer. ``error``: the kind of error that ended the exchange.
    """

    request_id: str
    client: str
    peer: str
    scheme: str
    status: int | None
    duration: float
    method: bytes | None = None
    target: bytes | None = None
    version: bytes | None = None
    host: bytes | None = None
    user_agent: bytes | None = None
    referrer: bytes | None = None
    received: int = 0
    sent: int = 0
    route: str | None = None
    controller: str | None = None
    upstream: float | None = None
    tls_version: str | None = None
    tls_subject: str | None = None
    error: str | None = None


class AccessLog:
    """Writes the lines."""

    __slots__ = ("_format", "_now", "_write")

    def __init__(
        self,
        kind: Literal["json", "combined", "off"],
        *,
        write: Callable[[str], object] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``write`` takes whole lines; by default they go to standard output."""
        formats = {"json": json_line, "combined": combined_line}
        self._format = formats.get(kind)
        self._write = lines_to(sys.stdout, name="access").write if write is None else write
        self._now = now

    @property
    def enabled(self) -> bool:
        """Say whether lines are wanted at all."""
        return self._format is not None

    def write(self, record: AccessRecord) -> None:
        """Write the line of one request."""
        if self._format is not None:
            self._write(self._format(record, self._now()) + "\n")


def json_line(record: AccessRecord, now: datetime) -> str:
    """Return the line as JSON; what is not known is left out."""
    path, query = _target(record.target)
    fields: tuple[tuple[str, str | float | None], ...] = (
        ("time", now.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
        ("channel", "access"),
        ("request_id", record.request_id),
        ("client.address", record.client),
        ("network.peer.address", record.peer),
        ("http.request.method", _text(record.method)),
        ("url.scheme", record.scheme),
        ("server.address", _without_port(record.host)),
        ("url.path", path),
        ("url.query", query),
        ("http.response.status_code", record.status),
        ("duration_s", round(record.duration, 6)),
        ("http.request.body.size", record.received),
        ("http.response.body.size", record.sent),
        ("route", record.route),
        ("controller", record.controller),
        ("upstream_s", None if record.upstream is None else round(record.upstream, 6)),
        ("user_agent.original", _text(record.user_agent)),
        ("network.protocol.version", _text(record.version)),
        ("tls.protocol.version", record.tls_version),
        ("tls.client.subject", record.tls_subject),
        ("error.type", record.error),
    )
    return "{" + ", ".join([_member(*each) for each in fields if each[1] is not None]) + "}"


def _member(name: str, value: str | float | None) -> str:
    return f'"{name}": {_in_json(value) if isinstance(value, str) else value}'


def combined_line(record: AccessRecord, now: datetime) -> str:
    """Return the line in the "combined" form. The user is always ``-``."""
    line = "-"
    if record.method is not None:
        path, query = _target(record.target)
        target = path if query is None else f"{path}?{query}"
        line = f"{_text(record.method)} {target} HTTP/{_text(record.version)}"
    status = "000" if record.status is None else record.status
    return (
        f"{record.client} - - [{now:%d/%b/%Y:%H:%M:%S %z}] {_quote(line)} {status} {record.sent}"
        f" {_quote(_referrer(record.referrer))} {_quote(_text(record.user_agent) or '-')}"
    )


def _target(target: bytes | None) -> tuple[str | None, str | None]:
    if target is None:
        return None, None
    path, mark, query = target.partition(b"?")
    return _cut(redact_path(path)), _cut(redact_query(query)) if mark else None


def _referrer(value: bytes | None) -> str:
    if value is None:
        return "-"
    path, query = _target(value)
    text = _USER_INFO.sub("//***@", path or "")
    return text if query is None else f"{text}?{query}"


def _without_port(host: bytes | None) -> str | None:
    return None if host is None else _text(_PORT.sub(b"", host))


def _text(value: bytes | None) -> str | None:
    return None if value is None else _cut(value.decode("latin-1"))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _quote(text: str) -> str:
    return '"' + _UNSAFE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02X}", text) + '"'
