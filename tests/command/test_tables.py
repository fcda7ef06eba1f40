"""What strangers' text may do on a terminal."""

from __future__ import annotations

import pytest

from gateway.command.tables import new_table, safe, show


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "a"), ("\x1b[2J", "?[2J"), ("a\nb", "a?b"), ("‮x", "?x"), (7, "7"), ("ä", "ä")],
)
def test_safe(text: object, expected: str) -> None:
    assert safe(text) == expected


def test_a_table_is_not_markup_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("NAME", "TEXT")
    table.add_row("[red]x[/red]", "y" * 150)
    show(table)
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "y" * 150 in out
