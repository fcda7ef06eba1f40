"""``remoting-gateway schema``: every configuration key, for people and editors."""

from __future__ import annotations

import json

import click

from gateway.config.schema import config_schema


@click.command()
def schema() -> None:
    """Print the JSON schema of the configuration file: keys, allowed values, defaults, reasons."""
    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))
