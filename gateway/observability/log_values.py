"""The values in a log line: masked, cut, and harmless.

Owns: what a secret looks like, how long a value may be, and which characters a terminal gets.

Must not know: channels, where lines go.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from gateway.config.values import Secret

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_MASK: Final = "***"
_SENSITIVE: Final = frozenset(
    {"secret", "password", "passphrase", "authorization", "cookie", "token", "credentials"}
)
_MAX_DEPTH: Final = 6  # deeper values are shown by their type's name only
_MAX_ITEMS: Final = 64  # of a list or dictionary
_STACK: Final = 8  # a traceback may be this many times as long as another value


def explain(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` into class, text and traceback (a structlog processor)."""
    error = event.pop("exc_info", None)
    if error is True or isinstance(error, tuple):
        found = sys.exc_info() if error is True else error
        error = found[1]
    if isinstance(error, BaseException):
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        event["exception_type"] = module + kind.__qualname__
        event["exception_message"] = str(error)
        event["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
    return event


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


def bounded(event: EventDict, limit: int) -> EventDict:
    """Return an event whose values have ``limit`` characters at most; a traceback's end counts."""
    cut: EventDict = {}
    for key, value in event.items():
        if isinstance(value, bool | int | float | None):
            cut[key] = value
        elif key == "exception":
            cut[key] = _text(str(value))[-limit * _STACK :]
        elif isinstance(value, str | bytes):
            cut[key] = _cut(_text(str(plain(value))), limit)
        elif isinstance(value, dict | list | tuple):
            text = json.dumps(_keyed(value, limit), default=plain)
            cut[key] = json.loads(text) if len(text) <= limit else _cut(text, limit)
        else:
            cut[key] = _cut(_text(str(value)), limit)
    return cut


def _keyed(value: object, limit: int) -> object:
    """Give dictionaries keys that JSON has, and cut what is inside."""
    if isinstance(value, dict):
        items = islice(value.items(), _MAX_ITEMS)
        return {_text(str(plain(name))): _keyed(item, limit) for name, item in items}
    if isinstance(value, list | tuple):
        return [_keyed(item, limit) for item in value[:_MAX_ITEMS]]
    return _cut(_text(value), limit) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Return text that is Unicode: halves of surrogate pairs, as of file names, are spelt out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def plain(value: object) -> object:
    """Make a JSON value of anything else: bytes as text, the rest as its ``str``."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def escape(event: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text that no terminal obeys: what is not printable is spelt out."""
    return {
        key: printable(value if isinstance(value, str) else str(plain(value)))
        for key, value in event.items()
    }


def printable(text: str) -> str:
    """Spell out control characters, direction overrides, and whatever else does not show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
