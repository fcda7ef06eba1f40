"""The access log: one line a request, for machines, for people, or as nginx and httpd write it.

Owns: the forms, which names the fields have (``log_fields`` describes them), and what of a request
is never written: cookies, ``Authorization`` and whatever else is a header that is not named here
(``target`` knows what of the address).

Must not know: when a request is over, who reads the lines.

Lines go to standard output by default, so that they can be had without the events on standard
error. Nothing that a stranger sends can end a line or drive a terminal: JSON is written in ASCII,
and the other forms escape as nginx does. A line costs a noticeable part of what a small request
does, so this is written plainly: no dictionary, no general encoder, and what is the same in most
requests (a second's text, a user agent) is made once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _in_json
from typing import Final, Literal

from gateway.observability.logs import Sink
from gateway.observability.target import redact_path, redact_query

_MAX_TEXT: Final = 1024  # characters of a path, query, referrer or user agent
_MAX_REMEMBERED: Final = 512  # bytes of a value that is kept for the next line
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
    trace_id: str | None = None


class AccessLog:
    """Writes the lines."""

    __slots__ = ("_now", "_sink", "_write")

    def __init__(
        self,
        kind: Sink | Literal["json", "console", "combined", "off"],
        *,
        write: Callable[[str], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``kind``: a form, or a sink, which may change. ``now``: Unix time.

        ``write`` takes whole lines; by default the sink does.
        """
        if isinstance(kind, str):
            self._sink = Sink()
            self._sink.form = kind
        else:
            self._sink = kind
        self._write = write
        self._now = now

    @property
    def enabled(self) -> bool:
        """Say whether lines are wanted at all."""
        return self._sink.form != "off"

    def write(self, record: AccessRecord) -> None:
        """Write the line of one request."""
        sink = self._sink
        form = _FORMS.get(sink.form)
        if form is not None:
            (self._write or sink.output.write)(form(record, self._now()) + "\n")


def json_line(record: AccessRecord, now: float) -> str:
    """Return the line as JSON; what is not known is left out. ``now``: Unix time."""
    line = (
        f'{{"time": "{_iso(now)}", "channel": "access"'
        f', "gateway.request.id": {_in_json(record.request_id)}'
    )
    if record.trace_id is not None:
        line += f', "trace_id": "{record.trace_id}"'
    line += (
        f', "client.address": {_in_json(record.client)}'
        f', "network.peer.address": {_in_json(record.peer)}'
    )
    if record.method is not None:
        line += f', "http.request.method": {_json_of(record.method)}'
    line += f', "url.scheme": "{record.scheme}"'
    if record.host is not None:
        line += f', "server.address": {_json_of_host(record.host)}'
    if record.target is not None:
        path, mark, query = record.target.partition(b"?")
        line += f', "url.path": {_in_json(_cut(redact_path(path)))}'
        if mark:
            line += f', "url.query": {_in_json(_cut(redact_query(query)))}'
    if record.status is not None:
        line += f', "http.response.status_code": {record.status}'
    line += (
        f', "http.server.request.duration": {round(record.duration, 6)}'
        f', "http.request.body.size": {record.received}'
        f', "http.response.body.size": {record.sent}'
    )
    if record.route is not None:
        line += f', "gateway.route.id": {_in_json(record.route)}'
    if record.controller is not None:
        line += f', "jenkins.controller.name": {_in_json(record.controller)}'
    if record.upstream is not None:
        line += f', "gateway.controller.duration": {round(record.upstream, 6)}'
    if record.user_agent is not None:
        line += f', "user_agent.original": {_json_of(record.user_agent)}'
    if record.version is not None:
        line += f', "network.protocol.version": {_json_of(record.version)}'
    if record.tls_version is not None:
        line += f', "tls.protocol.version": {_in_json(record.tls_version)}'
    if record.tls_subject is not None:
        line += f', "tls.client.subject": {_in_json(_cut(record.tls_subject))}'
    if record.error is not None:
        line += f', "error.type": {_in_json(record.error)}'
    return line + "}"


def _json_of(value: bytes) -> str:
    if len(value) <= _MAX_REMEMBERED:
        return _remembered(value)
    return _in_json(_cut(value.decode("latin-1")))


@lru_cache(maxsize=256)
def _remembered(value: bytes) -> str:
    return _in_json(value.decode("latin-1"))


def _json_of_host(value: bytes) -> str:
    return _remembered_host(value) if len(value) <= _MAX_REMEMBERED else _host(value)


def _host(value: bytes) -> str:
    return _in_json(_cut(_PORT.sub(b"", value).decode("latin-1")))


_remembered_host = lru_cache(maxsize=64)(_host)


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _iso(now: float) -> str:
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03d}Z"


def combined_line(record: AccessRecord, now: float) -> str:
    """Return the line in the "combined" form. The user is always ``-``."""
    status = "000" if record.status is None else record.status
    at = datetime.fromtimestamp(now, UTC)
    return (
        f"{record.client} - - [{at:%d/%b/%Y:%H:%M:%S %z}] {_quote(_request_line(record))} {status}"
        f" {record.sent} {_quote(_referrer(record.referrer))}"
        f" {_quote(_text(record.user_agent) or '-')}"
    )


def console_line(record: AccessRecord, now: float) -> str:
    """Return the line for people: what was asked, what came of it, who asked."""
    error = "" if record.error is None else f" {record.error}"
    where = "" if record.controller is None else f" to {record.controller}"
    status = "---" if record.status is None else record.status
    return (
        f"{_iso(now)} [access  ] {status} {record.duration * 1000:7.1f} ms {record.sent:>8} B"
        f" {_quote(_request_line(record))}{where} from {record.client}"
        f" [{_UNSAFE.sub('?', record.request_id)}]{error}"
    )


_FORMS: Final = {"json": json_line, "combined": combined_line, "console": console_line}


def _request_line(record: AccessRecord) -> str:
    if record.method is None:
        return "-"
    path, query = _target(record.target)
    target = path if query is None else f"{path}?{query}"
    return f"{_text(record.method)} {target} HTTP/{_text(record.version)}"


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


def _text(value: bytes | None) -> str | None:
    return None if value is None else _cut(value.decode("latin-1"))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _quote(text: str) -> str:
    return '"' + _UNSAFE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02X}", text) + '"'
