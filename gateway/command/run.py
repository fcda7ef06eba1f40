"""``remoting-gateway run``: serve, with a configuration file or for one controller without any."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gateway import __version__
from gateway.command.options import (
    check_exclusive,
    config_option,
    controller_option,
    find_config,
    load_config,
)
from gateway.config.load import for_single_controller, parse_controller, parse_listen
from gateway.config.models import default_state_dir
from gateway.config.values import Address
from gateway.errors import ConfigError, GatewayError
from gateway.observability.log_outputs import lines_to
from gateway.observability.logs import configure

if TYPE_CHECKING:
    from gateway.config.models import GatewayConfig
    from gateway.config.values import ControllerUrl
    from gateway.server.self_signed import SelfSigned

_EVERYWHERE = frozenset({"0.0.0.0", "::"})


@click.command()
@config_option
@controller_option
@click.option("--listen", metavar="HOST:PORT", help="With --controller. Default: 0.0.0.0:8443.")
# How a gateway that is being upgraded starts its successor; for nobody else.
@click.option("--inherited", type=int, hidden=True)
@click.option("--probe", "probed", type=int, hidden=True)
def run(
    config: Path | None,
    controller: str | None,
    listen: str | None,
    inherited: int | None,
    probed: int | None,
) -> None:
    """Run the gateway until it gets SIGTERM or SIGINT.

    With --controller no file is needed: the gateway makes a self-signed certificate, keeps it in
    its state folder, discovers everything else, and prints the command line for agents.
    """
    from gateway.server.program import run_supervisor
    from gateway.server.reloader import FileSource
    from gateway.server.upgrade import probe

    check_exclusive(config, controller)
    if controller is not None:
        _run_single(controller, listen, inherited, probed)
    if listen is not None:
        raise click.UsageError("--listen needs --controller; a file has its own listeners.")
    configure()
    if probed is not None:
        probe(FileSource(find_config(config)), probed)
    elif inherited is not None:
        sys.exit(run_supervisor(FileSource(find_config(config)), inherited=inherited))
    else:
        source = load_config(config).source
        sys.exit(run_supervisor(FileSource(source)))


def _run_single(
    controller: str, listen: str | None, inherited: int | None, probed: int | None
) -> NoReturn:
    from gateway.server.program import run_supervisor
    from gateway.server.reloader import FixedSource
    from gateway.server.upgrade import probe

    url, address = parse_controller(controller), parse_listen(listen or "0.0.0.0:8443")
    if address.port == 0:
        raise ConfigError(f'--listen: found "{address}"; allowed: a port from 1 to 65535')
    outside, signed = _certificate_for(address)
    made = for_single_controller(
        str(url),
        listen=str(address),
        certificate=signed.certificate,
        key=signed.key,
        state_dir=signed.certificate.parent,
    )
    configure()
    arguments = (
        "run",
        "--controller",
        controller,
        *(() if listen is None else ("--listen", listen)),
    )
    source = FixedSource(made, arguments)
    if probed is not None:
        probe(source, probed)
        sys.exit(0)
    if inherited is not None:
        sys.exit(run_supervisor(source, inherited=inherited))
    text = announcement(url, outside=outside, signed=signed, agent_port=_discovered(made))
    # As a log: nobody may have to wait for who reads it, and nobody need be there to.
    output = lines_to(sys.stdout, name="announcement")
    sys.exit(run_supervisor(source, announce=lambda: output.write(f"{text}\n")))


def _certificate_for(listen: Address) -> tuple[Address, SelfSigned]:
    """Return the address agents are told, and a certificate for it."""
    from gateway.server.self_signed import ensure, own_names

    host = own_names()[0] if listen.host in _EVERYWHERE else listen.host
    state_dir = default_state_dir().absolute()
    try:
        return Address(host, listen.port), ensure(state_dir, host=host)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(
            f"{state_dir}: cannot keep a certificate here: {reason}."
            " Set STATE_DIRECTORY to a folder that this user may write."
        ) from None


def _discovered(config: GatewayConfig) -> str:
    """Ask the one controller of ``config`` for its agent port, and describe the answer."""
    import trio

    from gateway.agents.discovery import Discovery
    from gateway.config.keys import fingerprint
    from gateway.http.upstream import fetch

    (name, controller), *_ = config.controllers.items()
    try:
        port = trio.run(Discovery(fetch).agent_port, name, controller)
    except GatewayError as error:
        return f"not to be had yet ({error}); agents wait until it is"
    key = "no key stated" if port.identity is None else f"key {fingerprint(port.identity)}"
    return f"{port.address}, {key}"


def announcement(
    url: ControllerUrl, *, outside: Address, signed: SelfSigned, agent_port: str
) -> str:
    """Return what ``run --controller`` prints once it serves.

    The certificate goes in by value. agent.jar also documents ``-cert @FILE``, but its option
    parser (args4j) takes any argument that begins with ``@`` for a file of further arguments, and
    fails (seen with remoting 3355).
    """
    public = f"https://{outside}{url.prefix}/"
    trust = f'"$(cat {shlex.quote(str(signed.certificate))})"'
    return f"""
Remoting Gateway {__version__} in front of {url}

  agent port   {agent_port}
  URL          {public}
  certificate  {signed.certificate}
               self-signed, until {signed.expires:%Y-%m-%d}
  SHA-256      {signed.fingerprint}

Connect an agent (NODE and SECRET are on the node's page in Jenkins; on another machine, copy the
certificate there first):

  java -jar agent.jar -url {public} -webSocket -name NODE -secret SECRET -cert {trust}
"""
