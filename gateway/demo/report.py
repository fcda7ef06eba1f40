"""What the demonstration prints: who does what, line by line, then a table of what was checked.

Owns: rich's console and the list of checks. Colours and boxes on a terminal, plain text elsewhere.

Must not know: what is being demonstrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES: Final = {"agent": "cyan", "controller": "magenta", "gateway": "green"}
_WIDTH: Final = max(map(len, _STYLES))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what should have been seen, and what was."""

    what: str
    expected: str
    seen: str

    @property
    def passed(self) -> bool:
        """Say whether what was seen is what was expected."""
        return self.expected == self.seen


class Report:
    """Prints a demonstration as it goes and remembers its checks."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(highlight=False, emoji=False) if console is None else console
        self.checks: list[Check] = []

    @property
    def passed(self) -> bool:
        """Say whether there were checks and all of them passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self._print(f"\n[bold]{escape(text)}[/bold]")

    def line(self, who: str, text: str) -> None:
        """Say what ``who`` (agent, controller, gateway) does or knows."""
        self._print(f"  [{_STYLES[who]}]{who:<{_WIDTH}}[/]  {escape(text)}")

    def text(self, text: str) -> None:
        """Print lines as they are, to be copied."""
        self._print(escape(text))

    def check(self, what: str, *, expected: object, seen: object) -> None:
        """Compare, remember, and say so at once if it is not as it should be."""
        check = Check(what, str(expected), str(seen))
        self.checks.append(check)
        if not check.passed:
            self._print(
                f"  [bold red]NOT AS EXPECTED[/] {escape(what)}:"
                f" expected {escape(check.expected)}, found {escape(check.seen)}"
            )

    def summary(self) -> None:
        """Print the table of checks and the verdict."""
        terminal = self._console.is_terminal
        table = Table(box=box.ROUNDED if terminal else box.ASCII2)
        table.add_column("checked")
        table.add_column("found", overflow="fold")
        table.add_column("")
        for check in self.checks:
            verdict = "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
            table.add_row(escape(check.what), escape(check.seen), verdict)
        self._console.print()
        self._console.print(table)
        failed = sum(not check.passed for check in self.checks)
        if self.passed:
            self._print(f"[bold green]Everything was as expected[/] ({len(self.checks)} checks).")
        else:
            self._print(f"[bold red]{failed} of {len(self.checks)} checks failed.[/]")

    def _print(self, markup: str) -> None:
        self._console.print(markup, soft_wrap=True)
