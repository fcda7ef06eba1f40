"""What the commands of ``nodes`` share: arguments, options, and the store they work on.

Owns: reading their values; which of the store's errors are messages.

Must not know: what commands do.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from gateway.command.options import load_config
from gateway.config.checks import suggest
from gateway.config.credentials import ClientCertificateCondition
from gateway.config.times import parse_time
from gateway.config.values import parse_duration, parse_network
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.config.models import GatewayConfig
    from gateway.credentials.issuing import Issuing
    from gateway.credentials.node_store import SqliteNodeStore
    from gateway.credentials.nodes import Node, Nodes

_LONGEST: Final = 36500 * 86400.0  # seconds: what ends later than in a lifetime does not end
_Command = TypeVar("_Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Site:
    """The store of one configuration."""

    config: GatewayConfig
    store: SqliteNodeStore
    issuing: Issuing

    def check_controller(self, name: str) -> None:
        """Raise ConfigError unless the configuration has such a controller."""
        known = self.config.controllers
        if name not in known:
            allowed = ", ".join(f'"{each}"' for each in known)
            raise ConfigError(
                f'CONTROLLER: found "{name}"; allowed: {allowed}.' + suggest(name, known)
            )

    def check_upstream(self, controller: str, node: str, given: str | None) -> None:
        """Raise ConfigError where nobody would know the node's secret in Jenkins."""
        credentials = self.config.controllers[controller].credentials
        found = self.store.find(controller, node)
        if given is None and credentials.jenkins_secrets is None:
            if found is not None and found.upstream is not None:
                return
            raise ConfigError(
                f"{controller} has no jenkins_secrets configured, so the node's secret in Jenkins"
                " cannot be computed; give it with --upstream-secret-file FILE"
            )
        if "nodes" not in credentials.modes:
            _warn_of_mode(controller)

    def check_imported(self, nodes: Sequence[Node]) -> None:
        """Raise ConfigError where ``issue`` would for one of the nodes."""
        without: set[str] = set()
        for node in nodes:
            self.check_controller(node.controller)
            credentials = self.config.controllers[node.controller].credentials
            if "nodes" not in credentials.modes:
                without.add(node.controller)
            if node.credentials and node.upstream is None and credentials.jenkins_secrets is None:
                raise ConfigError(
                    f"{node.context}: {node.controller} has no jenkins_secrets configured, so the"
                    " node's secret in Jenkins cannot be computed; give it as upstream_secret."
                    " Nothing was imported"
                )
        for name in sorted(without):
            _warn_of_mode(name)

    def delivery(self, file: Path | None, secret: str) -> AbstractContextManager[None]:
        """Have the secret in ``file`` if, and only if, the block ends well."""
        from gateway.command.secret_files import prepared_secret_file

        if file is None:
            return nullcontext()
        return prepared_secret_file(file, secret.encode() + b"\n")


def warn_of_damaged(nodes: Nodes) -> bool:
    """Name the nodes whose records are damaged; return whether there are any."""
    from gateway.credentials.nodes import DAMAGED_REMEDY

    for each in nodes.damaged:
        click.echo(
            f"warning: {each} is left out: its record is damaged; {DAMAGED_REMEDY}", err=True
        )
    return bool(nodes.damaged)


def _warn_of_mode(controller: str) -> None:
    click.echo(
        f"warning: {controller} does not have the mode nodes (credentials.modes), so the"
        " secret will not be taken yet",
        err=True,
    )


@contextmanager
def opened(config: Path | None, controller: str | None, node: str | None) -> Iterator[Site]:
    """Open the store; CONTROLLER and NODE are checked where they are given.

    Raises ConfigError for whatever cannot be done inside.
    """
    from gateway.credentials.issuing import Issuing, NodeError
    from gateway.credentials.node_exchange import check_name
    from gateway.credentials.node_store import SqliteNodeStore
    from gateway.credentials.nodes import StoreUnavailable
    from gateway.credentials.store_keys import StoreKeyError

    loaded = load_config(config, warn=False).config
    store = SqliteNodeStore(loaded.state_dir)
    site = Site(loaded, store, Issuing(store, loaded.store_key_file, operator=operator()))
    try:
        if controller is not None:
            site.check_controller(controller)
        if node is not None:
            check_name(node)
        yield site
    except (NodeError, StoreUnavailable, StoreKeyError) as error:
        raise ConfigError(str(error)) from None
    finally:
        store.close()


def operator() -> str:
    """Return who runs the command, as far as the system knows: for the audit trail.

    By the user id, since everybody may set LOGNAME and SUDO_USER. Only root is believed when it
    says whom it acts for: it could write anything into the store anyway.
    """
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:  # a user id that has no name, as in some containers
        name = f"uid {user}"
    behind = os.environ.get("SUDO_USER") if user == 0 else None
    return f"{behind} as {name}" if behind else name


# -- arguments and options -------------------------------------------------------------------------


def node_arguments(command: _Command) -> _Command:
    """Add CONTROLLER and NODE."""
    return click.argument("controller")(click.argument("node")(command))


def json_option(command: _Command) -> _Command:
    """Add ``--json`` as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def secret_file_option(command: _Command) -> _Command:
    """Add ``--secret-file``."""
    return click.option(
        "--secret-file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the new secret here (mode 0600) instead of printing it.",
    )(command)


def upstream_option(command: _Command) -> _Command:
    """Add ``--upstream-secret-file``."""
    return click.option(
        "--upstream-secret-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=(
            "The node's secret in Jenkins, `-` for standard input; stored encrypted. Not needed"
            " where the controller has jenkins_secrets configured."
        ),
    )(command)


def network_option(command: _Command) -> _Command:
    """Add ``--allow-from``, which may be given several times."""
    return click.option(
        "--allow-from",
        metavar="NETWORK",
        multiple=True,
        callback=_networks,
        help="Only from this network; may be given several times.",
    )(command)


def certificate_option(command: _Command) -> _Command:
    """Add ``--certificate``."""
    return click.option(
        "--certificate",
        metavar="subject|san[:NAME]",
        callback=_certificate,
        help='Only with a client certificate for NAME; default "{node}", the node itself.',
    )(command)


def time_option(name: str, text: str) -> Callable[[_Command], _Command]:
    """Add an option whose value is a time, as seconds since the epoch."""
    return click.option(name, metavar="TIME", callback=_time, help=text)


def duration_option(name: str, text: str) -> Callable[[_Command], _Command]:
    """Add an option whose value is a duration, as seconds."""
    variable = name.removeprefix("--") + ("_" if name == "--in" else "")
    return click.option(name, variable, metavar="DURATION", callback=_duration, help=text)


def _networks(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(map(parse_network, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _certificate(
    context: click.Context, option: click.Parameter, value: str | None
) -> ClientCertificateCondition | None:
    if value is None:
        return None
    by, colon, name = value.partition(":")
    fields: dict[str, Any] = {"by": by, **({"name": name} if colon else {})}
    try:
        return ClientCertificateCondition.model_validate(fields)
    except ValueError:
        raise click.BadParameter("allowed: subject, san, subject:NAME or san:NAME") from None


def _time(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_time(value).timestamp()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _duration(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found > _LONGEST:
        raise click.BadParameter("allowed: 36500d or less")
    return found
