"""``remoting-gateway import nginx``: gateway.yaml out of what there is already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.importing.report import Imported

_STANDARD: Final = Path("-")


@click.group("import")
def import_() -> None:
    """Take over another proxy's configuration."""


@import_.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=Path("gateway.yaml"),
    show_default=True,
    help='Where to write it; "-" is standard output.',
)
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def nginx(file: Path, output: Path, *, force: bool) -> None:
    """Make gateway.yaml out of an nginx configuration: FILE, with all that it includes.

    A whole nginx.conf will do, and so will one site. What could not be carried over is printed
    with line and reason. Exit status 0: the result can be used, as `check` says; 1: FILE cannot be
    read, or the result needs more, which is printed, too.
    """
    from gateway.importing.nginx import import_nginx
    from gateway.importing.writing import write_yaml

    imported = import_nginx(file)
    text = write_yaml(imported, str(file))
    if output == _STANDARD:
        click.echo(text, nl=False)
        _print_report(imported, to_stderr=True)
        return
    _write(output, text, force=force)
    click.echo(f"{output}: written")
    _print_report(imported, to_stderr=False)
    _check(output)


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: it is there already; --force overwrites it") from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"{path}: cannot be written: {reason}") from None


def _print_report(imported: Imported, *, to_stderr: bool) -> None:
    from gateway.importing.report import Fate

    for fate, title in (
        (Fate.LEFT_OUT, "Left out; somebody has to decide:"),
        (Fate.NOT_NEEDED, "Not needed any more:"),
    ):
        notes = imported.report.of(fate)
        if notes:
            click.echo(f"\n{title}", err=to_stderr)
        for note in notes:
            click.echo(f"  {note}", err=to_stderr)


def _check(path: Path) -> None:
    from gateway.config.load import load

    try:
        loaded = load(path)
    except ConfigError as error:
        click.echo(f"\nThe result cannot be used yet:\n{error}", err=True)
        sys.exit(1)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
