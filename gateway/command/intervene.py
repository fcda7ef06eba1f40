"""``remoting-gateway kick | takeover | block | unblock | blocks | log-level``.

Each asks through the control socket, with the exit statuses of ``operate``'s commands: 1 also where
there is no such session or block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from gateway.command.operate import ask_gateway, folder_of, refused, where
from gateway.command.tables import new_table, safe, show
from gateway.config.values import parse_duration

_WITHIN: Final = 15.0  # seconds


class _Duration(click.ParamType[float]):
    """``20s``, ``5m``, ``2h``, ``1d``."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_json = click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
_controller = click.option("--controller", metavar="NAME", help="Only at this controller.")
_reason = click.option("--reason", default="", metavar="TEXT", help="Why; at most 120 characters.")


def _ask(folder: Path, wish: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    given = {name: value for name, value in arguments.items() if value is not None}
    answer = ask_gateway(folder, wish, timeout=_WITHIN, **given)
    refused(answer)
    del answer["ok"]
    return answer


def _tell(answer: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(answer, indent=2) if as_json else text)
    for worker in answer.get("missing_workers", ()):
        click.echo(f"worker {worker} did not answer; it may not have done it", err=True)


def _ended(answer: Mapping[str, Any]) -> str:
    names = [
        f"{safe(each['node'])} at {safe(each['controller'])}, from {safe(each['client'])}"
        for each in answer["ended"]
    ]
    return f"ended: {'; '.join(names)}" if names else "no session of it was found"


@click.command()
@click.argument("node")
@where
@_controller
@_reason
@click.option(
    "--close-code",
    type=int,
    default=1008,
    show_default=True,
    help="Of the Close frame: 1000, 1001, 1008, 1012, 1013 or 4000 to 4999.",
)
@_json
def kick(
    node: str, config: Path | None, state_dir: Path | None, *, as_json: bool, **more: object
) -> None:
    """End the session of NODE. Its agent comes back by itself; `block` keeps it out."""
    answer = _ask(folder_of(config, state_dir), "kick", {"node": node, **more})
    _tell(answer, _ended(answer), as_json=as_json)


@click.command()
@click.argument("node")
@where
@_controller
@_json
def takeover(
    node: str, config: Path | None, state_dir: Path | None, *, as_json: bool, **more: object
) -> None:
    """End the session of NODE so that a newcomer may have it, as `takeover: always` would."""
    answer = _ask(folder_of(config, state_dir), "takeover", {"node": node, **more})
    _tell(answer, _ended(answer), as_json=as_json)


@click.command()
@click.argument("node")
@where
@_controller
@_reason
@click.option(
    "--for", "duration_s", type=_Duration(), metavar="TIME", help="As 30m or 2d. Else for good."
)
@click.option("--keep-session", is_flag=True, help="Do not end the session that it has.")
@_json
def block(
    node: str,
    config: Path | None,
    state_dir: Path | None,
    *,
    keep_session: bool,
    as_json: bool,
    **more: object,
) -> None:
    """Refuse NODE until a time or until it is unblocked, through reloads and restarts."""
    wish = {"node": node, "end_session": not keep_session, **more}
    answer = _ask(folder_of(config, state_dir), "block", wish)
    until = answer["block"]["until"]
    text = f"blocked {'until it is unblocked' if until is None else f'until {until}'}"
    if not answer["kept"]:
        text += "; it could not be written to state_dir, and ends with the gateway"
    if answer["ended"]:
        text += f"; {_ended(answer)}"
    _tell(answer, text, as_json=as_json)


@click.command()
@click.argument("node")
@where
@_controller
@_json
def unblock(
    node: str, config: Path | None, state_dir: Path | None, *, as_json: bool, **more: object
) -> None:
    """Let NODE in again."""
    answer = _ask(folder_of(config, state_dir), "unblock", {"node": node, **more})
    _tell(answer, "unblocked", as_json=as_json)


@click.command()
@where
@_json
def blocks(config: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """Show the nodes that are kept out."""
    answer = _ask(folder_of(config, state_dir), "blocks", {})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    table = new_table("NODE", "CONTROLLER", "SINCE", "UNTIL", "REASON", "BY")
    for each in answer["items"]:
        table.add_row(
            safe(each["node"]),
            safe(each["controller"] or "all"),
            each["since"],
            each["until"] or "unblocked",
            safe(each["reason"]),
            safe(each["by"]),
        )
    show(table)


@click.command("log-level")
@click.argument("level", required=False, type=click.Choice(["debug", "info", "warning", "error"]))
@where
@click.option(
    "--for", "duration_s", type=_Duration(), metavar="TIME", help="Then as before; as 10m."
)
@_json
def log_level(
    level: str | None,
    config: Path | None,
    state_dir: Path | None,
    duration_s: float | None,
    *,
    as_json: bool,
) -> None:
    """Show the level of the log, or log from LEVEL on, in all processes at once."""
    folder = folder_of(config, state_dir)
    if level is None:
        answer = _ask(folder, "log-level", {})
    else:
        answer = _ask(folder, "set-log-level", {"level": level, "duration_s": duration_s})
    until = "" if answer["until"] is None else f" until {answer['until']}"
    _tell(answer, f"{answer['level']}{until}", as_json=as_json)
