"""What ``doctor`` and ``probe`` share: the options that say whose path it is, and who plays the
agent.

Owns: options, and from them to a ``Question``. Secrets come from files or standard input only.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from gateway.command.secret_files import read_secret
from gateway.config.values import Secret

if TYPE_CHECKING:
    from gateway.demo.agent_http import Target

_Command = TypeVar("_Command", bound=Callable[..., object])
_Result = TypeVar("_Result")
_INTERRUPTED: Final = 130  # 128 and the number of SIGINT


def path_options(command: _Command) -> _Command:
    """Add the options of ``Path`` to a command."""
    for option in reversed(
        (
            click.option("--node", metavar="NODE", help="Play this node's agent."),
            click.option(
                "--secret-file",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="The node's secret, one line; - is standard input.",
            ),
            click.option(
                "--ca-file",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Authorities to believe besides the system's, PEM: agent.jar's -cert.",
            ),
            click.option(
                "--connect-to",
                metavar="HOST:PORT",
                help="Connect there, whatever the URL's name leads to; DNS is not asked.",
            ),
        )
    ):
        command = option(command)
    return command


def run_until_interrupted(function: Callable[..., Awaitable[_Result]], *args: object) -> _Result:
    """Run an event loop; Ctrl-C ends the process with 130, as shells have it, and no traceback."""
    import trio

    try:
        return trio.run(function, *args)
    except* KeyboardInterrupt:  # in a group, where it met a nursery
        click.echo("interrupted", err=True)
    sys.exit(_INTERRUPTED)


def parse_target(url: str) -> Target:
    """Return where a URL leads. Raises click.BadParameter."""
    from gateway.demo.agent_http import Target

    try:
        target = Target.parse(url)
    except ValueError:
        raise click.BadParameter(
            f'found "{url}"; allowed: an address such as https://jenkins.example.com/'
        ) from None
    if "wsagents" in target.path or target.path.endswith("/login/"):
        raise click.BadParameter(
            "allowed: the URL that agents get as -url, without wsagents or login"
        )
    return target


def parse_connect_to(text: str | None) -> tuple[str, int] | None:
    """Return host and port. Raises click.BadParameter."""
    if text is None:
        return None
    from gateway.config.values import Address

    try:
        address = Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(f'found "{text}"; {error}') from None
    return address.host, address.port


def check_ca_file(path: Path | None) -> None:
    """Refuse a file without certificates. Raises click.BadParameter."""
    import ssl

    from gateway.doctor.client import trust

    try:
        trust(path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "holds no certificate"
        raise click.BadParameter(f"{path}: {reason.lower()}; allowed: a PEM file") from None


def read_node_secret(node: str | None, secret_file: Path | None) -> Secret | None:
    """Return the secret. Raises click.UsageError, ConfigError."""
    if secret_file is None:
        return None
    if node is None:
        raise click.UsageError("--secret-file needs --node.")
    secret = read_secret(secret_file)
    for what, text in (("--node", node), (str(secret_file), secret)):
        # Either goes into a header: a second line would be another header.
        if not text.isprintable():
            raise click.UsageError(f"{what}: allowed: one line without control characters.")
    return Secret(secret)
