"""Tables on a terminal, and what strangers' text may do there: nothing.

Owns: how all tables look. Must not know: what is in them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

# Not cut at 80 columns where it goes into a pipe.
_WIDE: Final = 240


def new_table(*columns: str) -> Table:
    """Return an empty table."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(table: Table | str) -> None:
    """Print a table, or a line; nothing in it is taken for markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE
    Console(width=width, markup=False, highlight=False).print(table)


def safe(value: object) -> str:
    """Return a value in a form that cannot drive a terminal: names are strangers' choice."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
