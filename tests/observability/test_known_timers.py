"""Tests of ``gateway.observability.known_timers``, and of the table that operators read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.observability.known_timers import KNOWN_TIMERS, Counts, timers_of

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize(
    ("seconds", "counts", "names"),
    [
        (60.0, Counts.IDLE, ("nginx", "AWS ALB", "HAProxy examples")),
        (60.9, Counts.IDLE, ("nginx", "AWS ALB", "HAProxy examples")),
        (61.1, Counts.IDLE, ()),
        (350.2, Counts.IDLE, ("AWS NLB",)),
        (30.0, Counts.AGE, ("Google Cloud Application Load Balancer",)),
        (60.0, Counts.AGE, ()),
    ],
)
def test_names_of_a_length(seconds: float, counts: Counts, names: tuple[str, ...]) -> None:
    assert tuple(timer.name for timer in timers_of(seconds, counts)) == names


def test_every_timer_has_a_source() -> None:
    assert all(timer.source.startswith("https://") for timer in KNOWN_TIMERS)
    assert len({(timer.seconds, timer.name) for timer in KNOWN_TIMERS}) == len(KNOWN_TIMERS)


def test_operators_read_the_same_table() -> None:
    text = OPERATIONS.read_text("utf-8")
    section = text.partition("## Idle timers on the way")[2].partition("\n## ")[0]
    rows = [
        f"| {timer.seconds:g} s | {timer.name} | {timer.counts.value} | <{timer.source}> |"
        for timer in KNOWN_TIMERS
    ]
    assert [line for line in section.splitlines() if line.startswith("| ") and "<" in line] == rows
