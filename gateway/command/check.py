"""``remoting-gateway check``: is the configuration usable, and what does it come to?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.command.live import live_cli, live_transports
from gateway.command.options import config_option, describe_identity, load_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.config.models import GatewayConfig


@click.command()
@click.option(
    "--live",
    is_flag=True,
    help="Ask every controller, too: which ways agents and the CLI take to it, and why.",
)
@config_option
def check(config: Path | None, *, live: bool) -> None:
    """Check the configuration file and the certificates it names, as `nginx -t` does.

    Exit status 0: it can be used. 1: it cannot; every problem is printed with file, line and key.
    With --live also 1 if a controller is not ready for agents.
    """
    from gateway.transport.tls_context import ServerContexts

    loaded = load_config(config)
    for listener in loaded.config.listeners:
        if listener.tls is not None:
            ServerContexts(listener.tls)  # what OpenSSL refuses here, it would refuse at the start
    click.echo(f"{loaded.source}: configuration is valid")
    for rows in (_listeners(loaded.config), _routes(loaded.config), _controllers(loaded.config)):
        click.echo()
        _print_table(rows)
    if live:
        transports = live_transports(loaded.config)
        click.echo()
        _print_table([("CONTROLLER", "CLI", "WHY"), *live_cli(loaded.config)])
        click.echo()
        _print_table([("CONTROLLER", "TRANSPORT", "WHY"), *(row.cells for row in transports)])
        if not all(row.ready for row in transports):
            raise click.exceptions.Exit(1)


def _listeners(config: GatewayConfig) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("LISTENER", "TLS", "AGENTS")]
    for listener in config.listeners:
        if listener.tls is not None:
            certificates = ", ".join(str(pair.certificate) for pair in listener.tls.certificates)
            rows.append((str(listener.address), certificates, "from everywhere"))
        elif listener.plain_agents:
            rows.append((str(listener.address), "no", "from everywhere, unencrypted"))
        else:
            rows.append((str(listener.address), "no", "from loopback and trusted_proxies"))
    return rows


def _routes(config: GatewayConfig) -> list[tuple[str, ...]]:
    return [
        ("ROUTE", "HOST", "PATH", "CONTROLLER"),
        *(
            (route.id, route.host, config.path_of(route) or "/", route.controller)
            for route in config.routes
        ),
    ]


def _controllers(config: GatewayConfig) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("CONTROLLER", "URL", "TRANSPORT", "AGENT PORT", "PROTOCOL", "IDENTITY", "JUDGED BY")
    ]
    for name, controller in config.controllers.items():
        agents = controller.agents
        url = str(controller.url) if controller.url is not None else "none: agents only"
        judges = ", ".join(controller.credentials.modes)
        if agents.transport == "websocket":
            rows.append((name, url, agents.transport, "-", "-", "-", judges))
            continue
        port = str(agents.address) if agents.address is not None else "discovered"
        identity = describe_identity(config, name)
        rows.append((name, url, _ways(config, name), port, agents.protocol, identity, judges))
    return rows


def _ways(config: GatewayConfig, name: str) -> str:
    """Say which ways agents' sessions may take, without asking the controller."""
    from gateway.agents.identity import PinStore
    from gateway.agents.transport import why_held_back

    controller = config.controllers[name]
    if controller.agents.transport != "auto":
        return controller.agents.transport
    held_back = why_held_back(name, controller, PinStore(config.state_dir))
    return "auto: jnlp4, else websocket" if held_back is None else "auto: jnlp4"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
