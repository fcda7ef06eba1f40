from __future__ import annotations

import io
import json

from rich.console import Console

from gateway.doctor.causes import Cause
from gateway.doctor.checkup import CHECKS
from gateway.doctor.findings import Outcome, Report, Setting, Step, error, warning
from gateway.doctor.render import Progress, as_json, safe, show

FIRST = error(
    Cause.SSO, "a login page", seen="GET /login: 302", meaning="m", remedy="let them through",
    settings=[Setting("nginx", "auth_request off;")],
)  # fmt: skip
SECOND = warning(Cause.CLOCK_SKEW, "late\x1b[2J", seen="d", meaning="m", remedy="NTP")
STEPS = (
    Step("login", Outcome.FAILED, "302", 0.01234),
    Step("hold", Outcome.SKIPPED, "not looked at"),
)


def printed(report: Report) -> str:
    console = Console(file=io.StringIO(), width=80)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_remedy_comes_first() -> None:
    lines = [line.rstrip() for line in printed(Report("u", (FIRST, SECOND), STEPS)).splitlines()]
    assert lines[1] == "1. error: a login page"
    assert lines[2] == "   do    let them through"
    assert "   how   nginx: auth_request off;" in lines
    assert "2. warning: late?[2J" in lines


def test_nothing_wrong_is_said_too() -> None:
    report = Report("https://ci/", notes=("No agent was played.",))
    assert "Nothing is wrong with https://ci/" in printed(report)
    assert "No agent was played." in printed(report)


def test_json_has_everything() -> None:
    found = json.loads(as_json(Report("u", (FIRST, SECOND), STEPS)))
    assert found["exit_status"] == 2
    assert found["findings"][0]["cause"] == "sso"
    assert found["findings"][0]["severity"] == "error"
    assert found["findings"][0]["settings"] == [{"where": "nginx", "text": "auth_request off;"}]
    assert found["steps"][0] == {
        "name": "login",
        "outcome": "failed",
        "saw": "302",
        "seconds": 0.012,
    }
    assert found["steps"][1]["outcome"] == "skipped"


def test_progress_is_a_line_for_each_step_that_was_made() -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = Progress(console)
    for step in STEPS:
        progress.ended(step)
    assert isinstance(console.file, io.StringIO)
    (line,) = console.file.getvalue().splitlines()
    assert line.split() == ["FAIL", "login", "302"]


def test_a_long_wait_is_announced() -> None:
    for terminal, words in ((False, "the session while idle: waiting"), (True, "12 s left")):
        console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
        progress = Progress(console)
        progress.begun(CHECKS[-1])
        progress.progress(CHECKS[-1], "12 s left")
        progress.stop()
        assert isinstance(console.file, io.StringIO)
        assert words in console.file.getvalue()


def test_nothing_drives_a_terminal() -> None:
    assert safe("a\x1b]0;x\x07\u202eb") == "a?]0;x??b"
