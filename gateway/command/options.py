"""What several commands share: where the configuration comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from gateway.config.load import Loaded, load
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.models import GatewayConfig

    _Command = TypeVar("_Command", bound=Callable[..., object])

_VARIABLE: Final = "REMOTING_GATEWAY_CONFIG"
_PLACES: Final = (Path("gateway.yaml"), Path("/etc/remoting-gateway/gateway.yaml"))


def config_option(command: _Command) -> _Command:
    """Add ``-c FILE`` to a command, as ``config: Path | None``."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"Configuration file. Default: ${_VARIABLE}, else ./gateway.yaml, else {_PLACES[1]}.",
    )(command)


def controller_option(command: _Command) -> _Command:
    """Add ``--controller URL`` to a command, as ``controller: str | None``."""
    return click.option(
        "--controller", metavar="URL", help="Do without a file: this controller, all by default."
    )(command)


def load_config(given: Path | None, *, warn: bool = True) -> Loaded:
    """Load the named file, or the first of the usual ones; print its warnings if ``warn``.

    Raises ConfigError when there is none, or when it cannot be used.
    """
    loaded = load(find_config(given))
    for warning in loaded.warnings if warn else ():
        click.echo(f"warning: {warning}", err=True)
    return loaded


def find_config(given: Path | None) -> Path:
    """Return the named file, or the first of the usual ones. Raises ConfigError."""
    if given is not None:
        return given
    if named := os.environ.get(_VARIABLE):
        return Path(named)
    for place in _PLACES:
        if place.exists():
            return place
    raise ConfigError(
        f"no configuration file: there is neither {_PLACES[0]} here nor {_PLACES[1]}."
        " Name one with -c FILE, or start without one: remoting-gateway run --controller URL"
    )


def check_exclusive(config: Path | None, controller: str | None) -> None:
    """Refuse ``-c`` together with ``--controller``: one would be ignored."""
    if config is not None and controller is not None:
        raise click.UsageError("-c FILE and --controller URL exclude each other.")


def describe_identity(config: GatewayConfig, name: str) -> str:
    """Say in a few words which key a controller must show."""
    controller = config.controllers[name]
    if controller.agents.protocol == "JNLP4-plaintext":
        return "not checked (plaintext)"
    if controller.agents.identity != "discover":
        return controller.agents.identity.fingerprint
    if controller.url is not None and controller.url.scheme == "https":
        return "what its https url states"
    return "the first key seen is pinned"
