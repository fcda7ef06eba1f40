"""The demonstration's report: plain where it should be, and honest."""

from __future__ import annotations

import io

from rich.console import Console

from gateway.demo.report import Report


def report_to(out: io.StringIO, *, terminal: bool = False) -> Report:
    """Make a report that prints into ``out``."""
    return Report(
        Console(file=out, force_terminal=terminal, width=80, highlight=False, emoji=False)
    )


def test_nothing_checked_is_not_a_pass() -> None:
    assert not Report().passed


def test_one_failure_is_a_failure_and_is_said_at_once() -> None:
    out = io.StringIO()
    report = report_to(out)
    report.check("first", expected=1, seen="1")
    assert report.passed
    report.check("second", expected="right", seen="wrong")
    assert not report.passed
    assert "NOT AS EXPECTED second: expected right, found wrong" in out.getvalue()
    report.summary()
    assert "1 of 2 checks failed." in out.getvalue()
    assert "FAILED" in out.getvalue()


def test_text_is_not_markup() -> None:
    out = io.StringIO()
    report = report_to(out)
    report.heading("[bold]x")
    report.line("agent", "[red]y[/red] :AB:")
    report.text("[z] " + "long " * 40)
    assert out.getvalue() == (
        "\n[bold]x\n  agent       [red]y[/red] :AB:\n[z] " + "long " * 40 + "\n"
    )


def test_plain_text_elsewhere_and_colours_on_a_terminal() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    for out, terminal in ((plain, False), (coloured, True)):
        report = report_to(out, terminal=terminal)
        report.line("gateway", "hello")
        report.check("a", expected=1, seen=1)
        report.summary()
    assert plain.getvalue().isascii()
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[" in coloured.getvalue()
    assert "Everything was as expected (1 checks)." in plain.getvalue()
