"""A report on a terminal and as JSON, and the progress while it is made.

Owns: what is shown in which order: the first finding whole, with one remedy; the others below it.

Must not know: what findings mean. What strangers said loses its control characters here.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from gateway.doctor.findings import Finding, Outcome, Report, Severity, Step
from gateway.doctor.runner import Check, Observer

_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}
_MARKS: Final = {
    Outcome.OK: ("ok", "green"),
    Outcome.FOUND: ("warn", "yellow"),
    Outcome.FAILED: ("FAIL", "bold red"),
    Outcome.SKIPPED: ("-", "dim"),
}
_NAME: Final = 12


class Progress(Observer):
    """One line for each step; a line that moves while a check waits, where it is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def begun(self, check: Check[Any]) -> None:
        if self._console.is_terminal:
            self._status = self._console.status(f"{check.what} ...")
            self._status.start()
        elif check.holds:
            self._console.print(f"     {check.what}: waiting ...")

    def progress(self, check: Check[Any], text: str) -> None:
        if self._status is not None:
            self._status.update(safe(text))

    def ended(self, step: Step) -> None:
        self.stop()
        # What was left out is in the JSON; a tired reader has no use for it.
        if step.outcome is not Outcome.SKIPPED:
            self._console.print(_step(step))

    def stop(self) -> None:
        """Take the moving line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def _step(step: Step) -> Table:
    mark, style = _MARKS[step.outcome]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=4, style=style)
    table.add_column(width=_NAME)
    table.add_column(overflow="fold")
    table.add_row(mark, step.name, Text(safe(step.saw)))
    return table


def show(report: Report, console: Console) -> None:
    """Print what was found, the worst first; the first with its settings, the others briefly."""
    console.print()
    if not report.findings:
        console.print(Text.assemble(("Nothing is wrong", "bold green"), f" with {report.subject}"))
    for number, finding in enumerate(report.findings):
        if number:
            console.print()
        _show_finding(finding, console, number=number + 1)
    for note in report.notes:
        console.print(Text(safe(note), style="dim"))


def _show_finding(finding: Finding, console: Console, *, number: int) -> None:
    console.print(
        Text.assemble(
            (f"{number}. ", "bold"),
            (f"{finding.severity.word}: ", _STYLES[finding.severity]),
            (safe(finding.title), "bold"),
        )
    )
    _paragraph(console, "do", finding.remedy, style="bold")
    for line in finding.seen:
        _paragraph(console, "seen", line)
    _paragraph(console, "means", finding.meaning)
    for first, setting in enumerate(finding.settings):
        _paragraph(console, "" if first else "how", f"{setting.where}: {setting.text}")
    if finding.consequences:
        _paragraph(console, "also", "explained by it: " + "; ".join(finding.consequences))


def _paragraph(console: Console, label: str, text: str, *, style: str = "") -> None:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=5, style="dim")
    table.add_column(overflow="fold")
    table.add_row(label, Text(safe(text), style=style))
    console.print(Padding(table, (0, 0, 0, 3), expand=False))


def as_json(report: Report) -> str:
    """Return everything, for programs; the names of causes stay the same."""
    found: dict[str, Any] = {
        "subject": report.subject,
        "exit_status": report.exit_status,
        "findings": [
            {
                "cause": each.cause.value,
                "severity": each.severity.word,
                "check": each.check,
                "title": each.title,
                "seen": list(each.seen),
                "meaning": each.meaning,
                "remedy": each.remedy,
                "settings": [{"where": s.where, "text": s.text} for s in each.settings],
                "consequences": list(each.consequences),
            }
            for each in report.findings
        ],
        "steps": [
            {
                "name": step.name,
                "outcome": step.outcome.value,
                "saw": step.saw,
                "seconds": round(step.seconds, 3),
            }
            for step in report.steps
        ],
    }
    return json.dumps(found, indent=2)


def safe(text: str) -> str:
    """Return a text that cannot drive a terminal: much of it is strangers' choice."""
    return "".join(c if c.isprintable() else "?" for c in text)
