"""How ``nodes list`` and ``nodes show`` look.

Owns: tables. What is shown was written by operators and by agents: nothing in it is markup, and
control characters are replaced. Must not know: the store.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 240  # columns, where nobody's terminal says how many
_LIST: Final = ("CONTROLLER", "NODE", "STATE", "ISSUED", "FIRST USED", "ENDS", "FROM", "NOTE")


def print_list(listing: Sequence[dict[str, Any]]) -> None:
    """Print one line a node."""
    rows = []
    for node in listing:
        newest: dict[str, Any] = next(iter(node["credentials"]), {})
        rows.append(
            (
                node["controller"],
                node["node"],
                node["state"],
                newest.get("issued_at") or "-",
                newest.get("first_used_at") or "never",
                node["valid_until"] or "-",
                ", ".join(node["allow_from"]) or "everywhere",
                node["note"],
            )
        )
    _print(_LIST, rows)


def print_node(node: dict[str, Any]) -> None:
    """Print everything about a node that is no secret."""
    certificate = node["certificate"]
    facts = {
        "controller": node["controller"],
        "node": node["node"],
        "state": node["state"],
        "note": node["note"] or "-",
        "revoked": node["revoked_at"] or "-",
        "valid from": node["valid_from"] or "-",
        "valid until": node["valid_until"] or "-",
        "from": ", ".join(node["allow_from"]) or "everywhere",
        "client certificate": "not asked for"
        if certificate is None
        else f"{certificate['by']} {certificate['name']}",
        "secret for the controller": node["upstream_secret"],
    }
    _print(("", ""), list(facts.items()))
    secrets = [
        (
            str(each["id"]),
            each["key"],
            each["issued_at"],
            each["first_used_at"] or "never",
            each["expires_at"] or "-",
        )
        for each in node["credentials"]
    ]
    _print(("SECRET", "KEY", "ISSUED", "FIRST USED", "ENDS"), secrets)
    known = {"at", "event", "operator"}
    history = [
        (
            each["at"],
            each["event"],
            each["operator"],
            ", ".join(f"{name} {value}" for name, value in each.items() if name not in known),
        )
        for each in node["history"]
    ]
    _print(("AT", "EVENT", "BY", ""), history)


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*head, box=SIMPLE_HEAD, show_header=any(head), pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    console.print(table)


def _cell(text: str) -> Text:
    return Text("".join(each if each.isprintable() else "?" for each in text))
