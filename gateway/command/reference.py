"""``remoting-gateway reference [TOPIC]``: what the program knows of itself, as Markdown.

Owns: the list of topics. ``docs/reference/`` holds one page for each, written by ``--write``; a
test compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click


def _metrics() -> str:
    from gateway.observability.metrics.reference import metrics_page

    return metrics_page()


def _api() -> str:
    from gateway.server.admin.reference import api_reference

    return api_reference()


def _configuration() -> str:
    from gateway.config.reference import configuration_page

    return configuration_page()


def _logs() -> str:
    from gateway.observability.log_reference import logs_reference

    return logs_reference()


# Topic -> what makes its page.
TOPICS: Final[dict[str, Callable[[], str]]] = {
    "api": _api,
    "configuration": _configuration,
    "logs": _logs,
    "metrics": _metrics,
}


@click.command()
@click.argument("topic", required=False, type=click.Choice(sorted(TOPICS)))
@click.option(
    "--write",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write TOPIC, or all topics, to FOLDER/TOPIC.md.",
)
def reference(topic: str | None, folder: Path | None) -> None:
    """Print what the program knows of itself: configuration, logs, metrics, API."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for each in sorted(TOPICS) if topic is None else (topic,):
            (folder / f"{each}.md").write_text(TOPICS[each](), encoding="utf-8")
        return
    if topic is None:
        raise click.UsageError(f"which topic? {', '.join(sorted(TOPICS))}; or --write FOLDER")
    click.echo(TOPICS[topic](), nl=False)
