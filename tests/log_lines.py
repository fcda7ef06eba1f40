"""Reading JSON log lines: every one must be as the documentation has it.

Owns: that no test program writes a field or an event that is not in the tables, and reading lines
by the keywords that the code has for fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.observability.log_events import EVENTS
from gateway.observability.log_fields import ACCESS_FIELDS, BY_KEYWORD, FIELDS

NAMES: Final = {each.name for each in (*FIELDS, *ACCESS_FIELDS)}
KNOWN_EVENTS: Final = {(each.channel, each.event) for each in EVENTS}
CHANNELS: Final = ("access", "session", "audit", "system")


def undocumented(line: dict[str, Any]) -> str | None:
    """Return what of a published line is in no table, or None."""
    strange = line.keys() - NAMES
    if strange:
        return f"fields {sorted(strange)} of {line}"
    if line.get("channel") not in CHANNELS:
        return f"channel of {line}"
    is_ours = line["channel"] != "access" and "gateway.logger" not in line
    if is_ours and (line["channel"], line.get("event")) not in KNOWN_EVENTS:
        return f"event of {line}"
    return None


def undocumented_call(event: Mapping[str, Any]) -> str | None:
    """Return what of an event, as it is logged, is in no table, or None."""
    channel = event.get("channel")
    if channel not in CHANNELS:  # a test's own, or a library's
        return None
    strange = event.keys() - BY_KEYWORD.keys() - {"exc_info", "log_level"}
    if strange:
        return f"fields {sorted(strange)} of {event['event']}"
    if "logger" not in event and (channel, event["event"]) not in KNOWN_EVENTS:
        return f"event {event['event']} in {channel}"
    return None


def parse_line(data: bytes) -> dict[str, Any]:
    """Read a line; its fields are found by their keywords, too. Raises ValueError.

    Raises AssertionError for one that the documentation does not have.
    """
    line = json.loads(data)
    assert isinstance(line, dict), line
    problem = undocumented(line)
    assert problem is None, f"not documented: {problem}"
    for each in FIELDS:
        if each.name in line:
            line.setdefault(each.keyword, line[each.name])
    return line
