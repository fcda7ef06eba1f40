"""The command line: parse, call, print.

Owns: options, exit statuses and what is printed; each command is a module of its own and imports
what it runs only when it runs, so that ``check`` does not load the server.

Must not know: how anything is done. Nothing imports this package but ``__main__`` and the script.
"""

from __future__ import annotations

from typing import Any

import click

from gateway import __version__
from gateway.command.check import check
from gateway.command.demo import demo
from gateway.command.doctor import doctor
from gateway.command.healthcheck import healthcheck
from gateway.command.identity import identity
from gateway.command.import_nginx import import_
from gateway.command.intervene import block, blocks, kick, log_level, takeover, unblock
from gateway.command.jenkins_secrets import jenkins_secrets
from gateway.command.metrics import metrics
from gateway.command.nodes import nodes
from gateway.command.operate import drain, reload, status, upgrade
from gateway.command.probe import probe
from gateway.command.reference import reference
from gateway.command.run import run
from gateway.command.schema import schema
from gateway.command.sessions import sessions
from gateway.errors import ConfigError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what is wrong with the configuration is a message, not a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="remoting-gateway", message="%(prog)s %(version)s")
def cli() -> None:
    """A gateway for Jenkins: WebSocket agents in, JNLP4-connect out."""


for _command in (
    run,
    check,
    reload,
    drain,
    upgrade,
    status,
    sessions,
    metrics,
    kick,
    takeover,
    block,
    unblock,
    blocks,
    log_level,
    healthcheck,
    schema,
    reference,
    identity,
    nodes,
    jenkins_secrets,
    doctor,
    probe,
    import_,
    demo,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command ``remoting-gateway``."""
    cli(prog_name="remoting-gateway")
