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
from gateway.command.tables import new_table, safe, show

if TYPE_CHECKING:
    from rich.table import Table

_WITHIN: Final = 15.0  # seconds
_PAGE: Final = 1000  # the most that a gateway answers at once
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
@click.option("--controller", metavar="NAME", help="Only of this controller.")
@click.option("--state", type=click.Choice(["live", "suspect"]), help="Only these.")
@click.option("--transport", type=click.Choice(["jnlp4", "websocket"]), help="Only these.")
@click.option("--from", "address", metavar="ADDRESS", help="Only from this address or network.")
@click.option("--search", metavar="TEXT", help="Only where node, controller or address hold it.")
@click.option(
    "--sort", metavar="FIELD", help="As node, since, idle or round_trip; -FIELD is descending."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most N of them.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def sessions(
    node: str | None,
    config: Path | None,
    state_dir: Path | None,
    limit: int | None,
    *,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Show the sessions of all agents; with NODE, what happened to that node lately.

    A NODE with * or ? is a pattern, and stands for all sessions that fit it.
    """
    folder = folder_of(config, state_dir)
    wanted = {name: value for name, value in filters.items() if value is not None}
    if node is not None:
        wanted["node"] = node
    found = _ask(folder, wanted, limit)
    is_one = node is not None and not {"*", "?"} & {*node}
    if is_one:
        answer = ask_gateway(folder, "timeline", timeout=_WITHIN, node=node)
        refused(answer)
        found["events"] = answer["items"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    if is_one and not found["sessions"] and not found["events"]:
        click.echo(f"nothing is known of a node {node!r} here", err=True)
        sys.exit(1)


def _ask(folder: Path, wanted: Mapping[str, str], limit: int | None) -> dict[str, Any]:
    """Return the sessions that are wanted, page by page."""
    most = sys.maxsize if limit is None else limit
    items: list[dict[str, Any]] = []
    while True:
        size = min(most - len(items), _PAGE)
        page = {"offset": len(items), "limit": size}
        answer = ask_gateway(folder, "sessions", timeout=_WITHIN, **wanted, **page)
        refused(answer)
        items += answer["items"]
        if not answer["items"] or len(items) >= min(most, answer["total"]):
            silent = answer["missing_workers"]
            found = {"sessions": items, "total": answer["total"], "silent": silent}
            left_out = answer.get("left_out", 0)
            return {**found, "left_out": left_out} if left_out else found


def _show(found: Mapping[str, Any]) -> None:
    if found["sessions"] or "events" not in found:
        show(_sessions(found["sessions"]))
    if found.get("events"):
        show(_events(found["events"]))
    if "events" not in found:
        shown, total = len(found["sessions"]), found["total"]
        show(f"{total} sessions" + (f", {shown} shown" if shown < total else ""))
    if found.get("left_out"):
        click.echo(f"{found['left_out']} more are not shown: they are too many", err=True)
    for worker in found["silent"]:
        click.echo(f"worker {worker} did not answer; its sessions are not shown", err=True)


def _sessions(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = new_table(
        "CONTROLLER", "NODE", "FROM", "SINCE", "OVER", "IDLE", "PING", "BYTES FROM/TO", "WORKER", ""
    )
    for row in rows:
        ping = row["round_trip_ms"]
        table.add_row(
            safe(row["controller"]),
            safe(row["node"]),
            safe(row["client"]),
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
    table = new_table("TIME", "CONTROLLER", "EVENT", "WHAT IS KNOWN")
    for event in events:
        details = [f"{name}={safe(event[name])}" for name in _DETAILS if name in event]
        table.add_row(event["time"], safe(event["controller"]), event["event"], ", ".join(details))
    return table
