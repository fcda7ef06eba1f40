"""Configurations for the importer's tests, from text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.importing.nginx import import_nginx
from gateway.importing.nginx_scope import Scope
from gateway.importing.nginx_source import Directive, read_nginx
from gateway.importing.report import Fate, Imported

if TYPE_CHECKING:
    from gateway.importing.report import Report


def parse(folder: Path, text: str) -> tuple[Directive, ...]:
    """Return the directives of a text."""
    path = folder / "nginx.conf"
    path.write_text(text)
    return read_nginx(path).directives


def server(folder: Path, text: str) -> Scope:
    """Return the scope of a server block with this content, in an http block of nothing."""
    (directive,) = parse(folder, f"server {{ {text} }}")
    return Scope(()).inner(directive)


def imported(folder: Path, text: str) -> Imported:
    """Import a text."""
    path = folder / "site.conf"
    path.write_text(text)
    return import_nginx(path)


def document(folder: Path, text: str) -> dict[str, Any]:
    """Import a text and return what would be written."""
    return imported(folder, text).document


def left_out(report: Report) -> list[str]:
    """Return what was left out: directives, without file and line."""
    return [note.text for note in report.of(Fate.LEFT_OUT)]
