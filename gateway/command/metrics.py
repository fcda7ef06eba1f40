"""``remoting-gateway metrics``: the numbers of a gateway that runs, for Prometheus.

Exit statuses as of ``operate``'s commands.
"""

from __future__ import annotations

from pathlib import Path

import click

from gateway.command.operate import ask_gateway, folder_of, refused, where


@click.command()
@where
def metrics(config: Path | None, state_dir: Path | None) -> None:
    """Print the metrics, in the text format of Prometheus.

    For node_exporter's textfile collector: write it to another name in its folder, and rename that
    to remoting_gateway.prom.
    """
    answer = ask_gateway(folder_of(config, state_dir), "metrics")
    refused(answer)
    click.echo(answer["text"], nl=False)
