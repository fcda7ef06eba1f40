"""``remoting-gateway doctor``: what is wrong between an agent and its controller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.command.doctor_options import (
    check_ca_file,
    parse_connect_to,
    parse_target,
    path_options,
    read_node_secret,
    run_until_interrupted,
)
from gateway.command.secret_files import read_secret
from gateway.config.values import Secret, parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.doctor.findings import Report
    from gateway.doctor.question import Question


@click.command()
@click.argument("url", required=False)
@path_options
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Look at this gateway from inside, too: its configuration, state and controllers.",
)
@click.option(
    "--hold",
    metavar="DURATION",
    default="75s",
    show_default=True,
    help="Keep the session idle for so long; 0 for not at all.",
)
@click.option("--no-session", is_flag=True, help="Judge the secret without connecting the node.")
@click.option("--tcp", is_flag=True, help="The agent comes over TCP, without -webSocket.")
@click.option("--remoting", metavar="VERSION", help="Version of agent.jar: is it new enough?")
@click.option("--user", metavar="USER", help="Jenkins user for its self-test; with --token-file.")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The user's API token; - is standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def doctor(
    url: str | None,
    node: str | None,
    secret_file: Path | None,
    ca_file: Path | None,
    connect_to: str | None,
    config: Path | None,
    hold: str,
    no_session: bool,
    tcp: bool,
    remoting: str | None,
    user: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Say what is wrong between an agent and its controller, through any proxy.

    URL is what agents get as -url. With -c FILE also, or only, what a gateway's own configuration
    and machine can tell; run it there, as the gateway's user. With --node and --secret-file the
    doctor connects as that agent for as long as --hold says: take a node whose agent does not run.

    Exit status: 0 nothing is wrong, 1 warnings, 2 errors.
    """
    from rich.console import Console

    if url is None and config is None:
        raise click.UsageError("Name the URL that agents get, or a gateway's file with -c FILE.")
    question = None
    if url is not None:
        question = _question(
            url, node, secret_file, ca_file, connect_to, hold, remoting, user, token_file
        )
        question = _with(question, session=not no_session, tcp=tcp)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=False)
    report = _examine(question, config, console, quiet=as_json and not sys.stderr.isatty())
    from gateway.doctor import render

    if as_json:
        click.echo(render.as_json(report))
    else:
        render.show(report, console)
    sys.exit(report.exit_status)


def _question(
    url: str,
    node: str | None,
    secret_file: Path | None,
    ca_file: Path | None,
    connect_to: str | None,
    hold: str,
    remoting: str | None,
    user: str | None,
    token_file: Path | None,
) -> Question:
    from gateway.doctor.question import Question

    try:
        seconds = 0.0 if hold in ("0", "0s") else parse_duration(hold)
    except ValueError as error:
        raise click.BadParameter(f'--hold: found "{hold}"; {error}') from None
    if (user is None) is not (token_file is None):
        raise click.UsageError("--user and --token-file go together.")
    authorization = None
    if user is not None and token_file is not None:
        authorization = Secret(f"{user}:{read_secret(token_file)}")
    check_ca_file(ca_file)
    return Question(
        parse_target(url),
        node=node,
        secret=read_node_secret(node, secret_file),
        hold=seconds,
        ca_file=ca_file,
        connect_to=parse_connect_to(connect_to),
        remoting=remoting,
        authorization=authorization,
    )


def _with(question: Question, *, session: bool, tcp: bool) -> Question:
    from dataclasses import replace

    return replace(question, session=session, tcp=tcp)


def _examine(
    question: Question | None, config: Path | None, console: Console, *, quiet: bool
) -> Report:
    from gateway.doctor.examine import examine
    from gateway.doctor.render import Progress
    from gateway.doctor.runner import Observer

    observer = Observer() if quiet else Progress(console)
    try:
        return run_until_interrupted(examine, question, config, observer)
    finally:
        if isinstance(observer, Progress):
            observer.stop()
