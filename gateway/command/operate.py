"""``remoting-gateway reload | drain | status | upgrade``: what is said to a gateway that runs.

Each asks through the control socket in the gateway's ``state_dir``. Exit status 0: done. 1: it was
refused, or failed, with the reason. 3: no gateway runs there, or it may not be asked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import trio

from gateway.command.options import config_option, find_config
from gateway.errors import ConfigError

_NO_GATEWAY: Final = 3
_ANSWER: Final = 10.0  # seconds
_RELOAD: Final = 120.0  # workers may take 30 s, and another reload may come first
_PROBE: Final = 70.0
_UPGRADE: Final = 60.0  # until the new workers serve
_LOOK: Final = 0.1

_Command = TypeVar("_Command", bound=Callable[..., object])


def where(command: _Command) -> _Command:
    """Add ``-c`` and ``--state-dir`` to a command."""
    return config_option(
        click.option(
            "--state-dir",
            metavar="FOLDER",
            type=click.Path(path_type=Path),
            help="The gateway's state_dir, where its configuration is not at hand.",
        )(command)
    )


@click.command()
@where
def reload(config: Path | None, state_dir: Path | None) -> None:
    """Have the gateway load its configuration and certificates again, as SIGHUP does.

    Nothing is lost by it. Exit status 1: the new configuration cannot be used, and the old one
    stays in force.
    """
    answer = ask_gateway(folder_of(config, state_dir), "reload", timeout=_RELOAD)
    refused(answer)
    click.echo(f"reloaded: configuration {answer['generation']} is in force")


@click.command()
@where
@click.option("--wait", is_flag=True, help="Return when the gateway has ended.")
def drain(config: Path | None, state_dir: Path | None, *, wait: bool) -> None:
    """Have the gateway end in order, as SIGTERM does: not ready, pre_stop, 1012 for sessions."""
    folder = folder_of(config, state_dir)
    answer = ask_gateway(folder, "drain")
    refused(answer)
    status = answer["status"]
    click.echo(
        f"draining: {status['sessions']} sessions, {status['connections']} connections;"
        f" at most {answer['within_s']:g} s"
    )
    while wait:
        time.sleep(_LOOK)
        try:
            call_gateway(folder, "status", _ANSWER)
        except ConfigError:
            return


@click.command()
@where
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def status(config: Path | None, state_dir: Path | None, *, as_json: bool) -> None:
    """Show what the gateway does: workers, sessions, the last reload.

    Exit status 0: it is ready. 1: it runs, but is not ready (it starts, or is draining).
    """
    answer = ask_gateway(folder_of(config, state_dir), "status")
    refused(answer)
    found = answer["status"]
    click.echo(json.dumps(found, indent=2) if as_json else _describe(found))
    sys.exit(0 if found["ready"] else 1)


@click.command()
@where
def upgrade(config: Path | None, state_dir: Path | None) -> None:
    """Have the gateway replace its program by the one that is installed now, as SIGUSR2 does.

    Sessions stay with the old workers until they end, at most shutdown.upgrade_linger. Exit status
    1: the new program cannot start or its configuration is wrong; everything stays as it was.
    """
    folder = folder_of(config, state_dir)
    answer = ask_gateway(folder, "upgrade", timeout=_PROBE)
    refused(answer)
    deadline = time.monotonic() + _UPGRADE
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        try:
            found = call_gateway(folder, "status", _ANSWER).get("status", {})
        except ConfigError:
            continue  # asked between two programs
        if found.get("incarnation", 0) >= answer["incarnation"] and found["upgraded"]:
            old = [each for each in found["workers"] if each["state"] == "lingering"]
            click.echo(
                f"upgraded to {found['version']}: {sum(x['sessions'] or 0 for x in old)} sessions"
                f" stay with {len(old)} old workers until they end"
            )
            return
    click.echo(
        f"the new workers do not serve after {_UPGRADE:g} s; the old ones go on, and the log tells"
        " why",
        err=True,
    )
    sys.exit(1)


def folder_of(config: Path | None, state_dir: Path | None) -> Path:
    """Return the gateway's folder by the options of ``where``. Raises click.UsageError."""
    if state_dir is not None:
        if config is not None:
            raise click.UsageError("-c FILE and --state-dir FOLDER exclude each other.")
        return state_dir
    from gateway.config.models import default_state_dir

    try:
        found = find_config(config)
    except ConfigError:  # it may have been started without a file
        return default_state_dir()
    return _state_dir_of(found)


def _state_dir_of(path: Path) -> Path:
    """Return the folder that a file names, whatever else is wrong with it: who asks for the state
    of a gateway may just have broken its configuration.
    """
    from gateway.config.document import read_document
    from gateway.config.models import default_state_dir

    found = read_document(path).value_at(("state_dir",))
    return path.absolute().parent / found if isinstance(found, str) else default_state_dir()


def ask_gateway(
    folder: Path, wish: str, *, timeout: float = _ANSWER, **more: object
) -> dict[str, Any]:
    """Return what the gateway answers; say so and exit with 3 where there is none to be asked."""
    try:
        return call_gateway(folder, wish, timeout, **more)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(_NO_GATEWAY)


def call_gateway(folder: Path, wish: str, timeout: float, **more: object) -> dict[str, Any]:
    """Return what the gateway answers. Raises ConfigError where there is none to be asked."""
    from gateway.server.control_socket import ask

    async def call() -> dict[str, Any]:
        return await ask(folder, {"do": wish, **more}, within=timeout)

    return trio.run(call)


def refused(answer: dict[str, Any]) -> None:
    """Say why, and exit with 1, if the gateway refused."""
    if not answer.get("ok"):
        click.echo(str(answer.get("reason")), err=True)
        sys.exit(1)


def _describe(found: dict[str, Any]) -> str:
    last = found["last_reload"]
    ready = "ready" if found["ready"] else "not ready"
    lines = [
        f"{found['state']}, {ready}: version {found['version']}, process {found['process']},"
        f" since {found['started']}",
        f"listeners      {', '.join(found['listeners']) or 'none'}",
        f"admin          {found.get('admin') or 'none'}",
        f"sessions       {found['sessions']}",
        f"connections    {found['connections']}",
        f"configuration  {found['generation']}, of {found['configuration']}",
        f"last reload    {_describe_reload(last)}",
        "",
        "WORKER   SLOT  STATE      SESSIONS  CONNECTIONS  CONFIGURATION  SINCE",
    ]
    for each in found["workers"]:
        sessions, connections = (
            "?" if each[key] is None else each[key] for key in ("sessions", "connections")
        )
        lines.append(
            f"{each['worker']:<8} {each['slot']:<5} {each['state']:<10} {sessions!s:<9}"
            f" {connections!s:<12} {each['generation']:<14} {each['started']}"
        )
    return "\n".join(lines)


def _describe_reload(last: dict[str, Any] | None) -> str:
    if last is None:
        return "none"
    verdict = "done" if last["ok"] else f"FAILED: {last['reason']}"
    return f"{last['at']} ({last['trigger']}) {verdict}"
