"""What became of each directive."""

from __future__ import annotations

from pathlib import Path

from gateway.importing.report import Fate, Report
from tests.importing.trees import parse


def test_a_directive_is_noted_once(tmp_path: Path) -> None:
    first, second, third = parse(tmp_path, "c x;\nb y;\na z;\n")
    report = Report()
    report.leave_out(third, "one")
    report.leave_out(third, "two")
    report.take(second)
    report.not_needed(second, "never said")
    report.leave_out(first, "three")
    report.add(second, "added", text="part of b")
    path = tmp_path / "nginx.conf"
    assert [str(note) for note in report.of(Fate.LEFT_OUT)] == [
        f"{path}:1: c x: three",
        f"{path}:2: part of b: added",
        f"{path}:3: a z: one",
    ]
    assert report.of(Fate.NOT_NEEDED) == []
    assert report.is_taken(second)
    assert not report.is_taken(third)
    assert report.taken() == [second]


def test_long_ones_are_cut(tmp_path: Path) -> None:
    (directive,) = parse(tmp_path, f"c {'x' * 100};\n")
    report = Report()
    report.leave_out(directive, "why")
    assert report.notes[0].text == "c " + "x" * 58 + "..."


def test_a_file_that_is_included_twice_is_noted_once(tmp_path: Path) -> None:
    (tmp_path / "snippet").write_text("a x;\n")
    first, second = parse(tmp_path, "include snippet;\ninclude snippet;\n")
    report = Report()
    report.leave_out(first, "why")
    report.leave_out(second, "why")
    assert len(report.of(Fate.LEFT_OUT)) == 1
    assert report.is_settled(second)
