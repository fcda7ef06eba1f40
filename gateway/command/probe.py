"""``remoting-gateway probe``: an agent's upgrade as one exchange, or as a curl command."""

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

if TYPE_CHECKING:
    from gateway.doctor.findings import Finding
    from gateway.doctor.question import Question


@click.command()
@click.argument("url")
@path_options
@click.option("--curl", is_flag=True, help="Print the equivalent curl command, and send nothing.")
def probe(
    url: str,
    node: str | None,
    secret_file: Path | None,
    ca_file: Path | None,
    connect_to: str | None,
    *,
    curl: bool,
) -> None:
    """Ask for an agent's WebSocket once: the request, the answer, and what it means.

    URL is what agents get as -url. A session that comes of it is closed at once. No secret is ever
    shown. Exit status: 0 for 101 (1 if something is missing in it), 2 for everything else.
    """
    from gateway.doctor.question import Question

    if node is None:
        raise click.UsageError("--node is missing: whose agent?")
    if secret_file is None and not curl:
        raise click.UsageError("--secret-file is missing.")
    check_ca_file(ca_file)
    question = Question(
        parse_target(url),
        node=node,
        secret=None if curl else read_node_secret(node, secret_file),
        ca_file=ca_file,
        connect_to=parse_connect_to(connect_to),
    )
    if curl:
        _print_curl(question, secret_file)
        return
    sys.exit(_ask(question))


def _print_curl(question: Question, secret_file: Path | None) -> None:
    import shlex

    from gateway.doctor.exchange_text import curl_command
    from gateway.doctor.websocket import agent_request, new_key

    request = agent_request(question, new_key(), node=question.node or "", secret="")
    name = "FILE" if secret_file is None else shlex.quote(str(secret_file))
    click.echo(f"# bash; the secret stays in its file\nSECRET_FILE={name}")
    click.echo(curl_command(question, request))


def _ask(question: Question) -> int:
    from gateway.doctor.client import Unanswered
    from gateway.doctor.exchange_text import answer_lines, request_lines
    from gateway.doctor.probe import probe_once

    try:
        request, answer, finding = run_until_interrupted(probe_once, question)
    except Unanswered as error:
        click.echo(f"no answer: {error}", err=True)
        click.echo(f"To find out why: remoting-gateway doctor {question.url}", err=True)
        return 2
    for line in request_lines(request):
        click.echo(f"> {line}".rstrip())
    click.echo()
    for line in answer_lines(answer):
        click.echo(f"< {line}".rstrip())
    click.echo()
    if finding is None:
        minimum = answer.header("X-Remoting-Minimum-Version")
        click.echo("101: the agent is welcome: node and secret are right, and the upgrade passes.")
        if minimum is not None:
            click.echo(f"Its agent.jar must be {minimum} or newer.")
        click.echo("The session was closed again.")
        return 0
    _explain(finding)
    return finding.severity.value


def _explain(finding: Finding) -> None:
    click.echo(f"{finding.severity.word}: {finding.title}")
    click.echo(f"  do     {finding.remedy}")
    click.echo(f"  means  {finding.meaning}")
    for setting in finding.settings:
        click.echo(f"         {setting.where}: {setting.text}")
