"""``remoting-gateway sessions [NODE]``: who is connected, and why a node's sessions ended.

Exit statuses as of ``operate``'s commands; 1 also for a NODE of which nothing is known.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.command.operate import ask_gateway, folder_of, refused, where

if TYPE_CHECKING:
    from rich.table import Table

_WITHIN: Final = 15.0  # seconds
# What is said of an event besides its time and kind, in this order; the rest is in --json.
_DETAILS: Final = (
    "client",
    "by",
    "why",
    "reason",
    "how",
    "close_code",
    "duration_s",
    "agent_idle_s",
    "to_agent_idle_s",
    "controller_idle_s",
    "round_trip_ms",
    "bytes_from_agent",
    "bytes_to_agent",
    "controller_address",
    "transport",
    "config_generation",
    "times",
    "session",
)


@click.command()
@click.argument("node", required=False)
@where
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def sessions(node: str | None, config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Show the sessions of all agents; with NODE, what happened to that node lately."""
    question = {} if node is None else {"node": node}
    answer = ask_gateway(folder_of(config, state_dir), "sessions", timeout=_WITHIN, **question)
    refused(answer)
    found: dict[str, Any] = {
        key: answer[key] for key in ("sessions", "silent", "left_out", "events") if key in answer
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    if node is not None and not found["sessions"] and not found["events"]:
        click.echo(f"nothing is known of a node {node!r} here", err=True)
        sys.exit(1)


def _show(found: Mapping[str, Any]) -> None:
    from rich.console import Console

    # Not cut at 80 columns where it goes into a pipe.
    console = Console(width=None if sys.stdout.isatty() else 240, markup=False, highlight=False)
    if found["sessions"] or "events" not in found:
        console.print(_sessions(found["sessions"]))
    if found.get("events"):
        console.print(_events(found["events"]))
    if "events" not in found:
        console.print(f"{len(found['sessions'])} sessions")
    if found.get("left_out"):
        click.echo(f"{found['left_out']} more are not shown: they are too many", err=True)
    for worker in found["silent"]:
        click.echo(f"worker {worker} did not answer; its sessions are not shown", err=True)


def _sessions(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = _table(
        "CONTROLLER", "NODE", "FROM", "SINCE", "OVER", "IDLE", "PING", "BYTES FROM/TO", "WORKER", ""
    )
    for row in rows:
        ping = row["round_trip_ms"]
        table.add_row(
            _safe(row["controller"]),
            _safe(row["node"]),
            _safe(row["client"]),
            row["since"],
            row["transport"],
            f"{row['agent_idle_s']:.0f} s",
            "" if ping is None else f"{ping:g} ms",
            f"{row['bytes_from_agent']}/{row['bytes_to_agent']}",
            str(row["worker"]),
            "suspect" if row["suspect"] else "",
        )
    return table


def _events(events: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("TIME", "CONTROLLER", "EVENT", "WHAT IS KNOWN")
    for event in events:
        details = [f"{name}={_safe(event[name])}" for name in _DETAILS if name in event]
        table.add_row(event["time"], _safe(event["controller"]), event["event"], ", ".join(details))
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _safe(value: object) -> str:
    """Return a value in a form that cannot drive a terminal: names are strangers' choice."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
