"""``remoting-gateway demo``: the whole way of a session, on this machine, step by step."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--stay", is_flag=True, help="Keep running, and show how to connect a real agent.")
def demo(*, stay: bool) -> None:
    """Start a gateway, a stand-in controller and an agent on loopback and show what happens."""
    from gateway.demo.story import run_demo

    sys.exit(run_demo(stay=stay))
