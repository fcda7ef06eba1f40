"""The reference of the logs, made from the tables that the program itself uses.

Owns: the form of the page. Must not know: anything that is not in the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.config.logs import CHANNELS
from gateway.observability.log_events import EVENTS
from gateway.observability.log_fields import ACCESS_FIELDS, FIELDS, LogField, all_fields

_ABOUT = {
    "access": "One line a request, when it is answered; for a WebSocket when it begins.",
    "session": "Agents' sessions, people's WebSockets, and how controllers' agents fare.",
    "audit": "What happened to credentials, who did it, and who was not let in.",
    "system": "Processes, configuration, requests that failed, and what libraries say.",
}


def logs_reference() -> str:
    """Return the reference of every event and field, in Markdown."""
    parts = [
        "# Logs\n",
        "A line is a JSON object, in ASCII, at most 64 KiB. Fields that are not known are left out"
        " or `null`. Names are OpenTelemetry's where it has one; `jenkins.*` and `gateway.*` are"
        " this program's. A library's own fields are `gateway.other.*`.\n",
        "## Channels\n",
        _table(("channel", "what"), ((f"`{each}`", _ABOUT[each]) for each in CHANNELS)),
        "## Events\n",
        _table(
            ("channel", "`event`", "level", "meaning"),
            ((each.channel, f"`{each.event}`", each.levels, each.meaning) for each in EVENTS),
        ),
        "## Fields\n",
        _table(
            ("field", "meaning", "unit", "channel", "name from"),
            (
                (f"`{each.name}`", _meaning(each), each.unit, _channels(each), each.origin)
                for each in all_fields()
            ),
        ),
    ]
    return "\n".join(parts)


def _same(field: LogField) -> list[LogField]:
    return [each for each in (*FIELDS, *ACCESS_FIELDS) if each.name == field.name]


def _meaning(field: LogField) -> str:
    meanings = [each.meaning for each in _same(field) if each.meaning != "the same"]
    return "; ".join(dict.fromkeys(meanings))


def _channels(field: LogField) -> str:
    named = {name for each in _same(field) for name in each.channels.split(", ")}
    return "all" if "all" in named else ", ".join(each for each in CHANNELS if each in named)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
