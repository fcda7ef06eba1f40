"""``remoting-gateway identity``: which key each controller must show, and accepting a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import trio

from gateway.command.options import (
    check_exclusive,
    config_option,
    controller_option,
    describe_identity,
    load_config,
)
from gateway.config.checks import suggest
from gateway.config.load import parse_controller
from gateway.config.models import ControllerConfig, GatewayConfig, ListenerConfig, RouteConfig
from gateway.config.values import Address
from gateway.errors import ConfigError, GatewayError, IdentityMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.agents.identity import Pin, PinStore


@click.group()
def identity() -> None:
    """Show or accept the keys by which controllers are recognised."""


@identity.command()
@config_option
@controller_option
def show(config: Path | None, controller: str | None) -> None:
    """Show which key each controller must prove before it is told a secret."""
    from gateway.agents.identity import PinStore
    from gateway.config.keys import fingerprint

    found = _config(config, controller)
    pins = PinStore(found.state_dir)
    for name in found.controllers:
        text = describe_identity(found, name)
        if _is_pinned_at_first_sight(found, name):
            try:
                pin = pins.get(name)
            except IdentityMismatch as error:
                text = str(error)
            else:
                text = "nothing pinned yet" if pin is None else f"{fingerprint(pin.key)} (pinned)"
        click.echo(f"{name}: {text}")


@identity.command()
@click.argument("name", metavar="CONTROLLER")
@config_option
@controller_option
def accept(name: str, config: Path | None, controller: str | None) -> None:
    """Pin the key that CONTROLLER shows now, in place of the one pinned before.

    Compare the fingerprint with the controller's own before agents connect again: whoever answers
    at its address gets their secrets.
    """
    from gateway.agents.identity import Pin, PinStore
    from gateway.config.keys import fingerprint

    found = _config(config, controller)
    if name not in found.controllers:
        known = ", ".join(f'"{each}"' for each in found.controllers)
        raise ConfigError(
            f'CONTROLLER: found "{name}"; allowed: {known}.' + suggest(name, found.controllers)
        )
    if not _is_pinned_at_first_sight(found, name):
        raise ConfigError(
            f"{name}: nothing to accept, its key is not pinned at first sight but"
            f" {describe_identity(found, name)}"
        )
    pins = PinStore(found.state_dir)
    old, new = _pinned(pins, name), _shown(name, found.controllers[name])
    click.echo(f"pinned so far: {'nothing' if old is None else fingerprint(old.key)}")
    click.echo(f"shown now:     {fingerprint(new)}")
    try:
        path = pins.accept(name, Pin(new, "accepted by an operator"))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"{found.state_dir}: cannot keep the key here: {reason}") from None
    click.echo(f"{name}: accepted in {path}")
    click.echo("A gateway with this state_dir uses it from the next agent on.")
    if old is None:
        click.echo(
            "Nothing was pinned there before: is it the folder of the gateway that runs? A service"
            " may have its own (STATE_DIRECTORY); state_dir in the configuration settles it."
        )


def _config(config: Path | None, controller: str | None) -> GatewayConfig:
    check_exclusive(config, controller)
    if controller is None:
        return load_config(config).config
    # As `run --controller`, but without the certificate: nothing is served here.
    return GatewayConfig(
        listeners=(ListenerConfig(address=Address("127.0.0.1", 0)),),
        controllers={"main": ControllerConfig(url=parse_controller(controller))},
        routes=(RouteConfig(id="main", controller="main"),),
    )


def _is_pinned_at_first_sight(config: GatewayConfig, name: str) -> bool:
    controller = config.controllers[name]
    return (
        controller.agents.identity == "discover"
        and controller.agents.protocol != "JNLP4-plaintext"
        and controller.url is not None
        and controller.url.scheme == "http"
    )


def _pinned(pins: PinStore, name: str) -> Pin | None:
    try:
        return pins.get(name)
    except IdentityMismatch:
        return None  # a damaged pin: accepting another key is the remedy


def _shown(name: str, controller: ControllerConfig) -> bytes:
    """Ask the controller for its key. Raises ConfigError when it does not tell."""
    from gateway.agents.discovery import Discovery
    from gateway.http.upstream import fetch

    try:
        port = trio.run(Discovery(fetch).agent_port, name, controller)
    except GatewayError as error:
        raise ConfigError(f"{name}: cannot ask {controller.url} for its key: {error}") from None
    if port.identity is None:
        raise ConfigError(f"{name}: {controller.url} states no key (X-Instance-Identity)")
    return port.identity
