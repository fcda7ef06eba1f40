"""docs/operations.md: samples of log lines have documented fields, and capacity was measured."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest

from gateway.observability.log_events import EVENTS
from gateway.observability.log_fields import all_fields
from tests.docs.pages import ROOT, Block, blocks_of, text_of

PAGE: Final = ROOT / "docs/operations.md"
LINES: Final = [each for each in blocks_of(PAGE) if each.text.startswith('{"')]
_CAPACITY: Final = text_of(PAGE).partition("\n## Capacity\n")[2].partition("\n## ")[0]
_ROWS: Final = re.findall(r"^\| (.+?) \| (.+?) \| `(.+?)` \|$", _CAPACITY, re.M)

# Row -> proxy and measurements, in the order of the row's figures; one figure may be for all.
MEASURED: Final = {
    "a translated session's bytes, TLS on both sides": (
        "gateway",
        ("upload CPU s/GiB", "download CPU s/GiB"),
    ),
    "the same, through one session at full speed": (
        "gateway",
        ("upload MiB/s", "download MiB/s"),
    ),
    "a relayed session's bytes": ("gateway relay", ("upload CPU s/GiB", "download CPU s/GiB")),
    "a small request": ("gateway", ("CPU ms/request", "requests/s")),
    "with two workers on the two cores": ("gateway, 2 workers", ("requests/s",)),
    "a download or upload": ("gateway", ("download CPU s/GiB", "upload CPU s/GiB")),
}


def test_there_are_samples() -> None:
    assert len(LINES) == 2


@pytest.mark.parametrize("block", LINES, ids=str)
def test_a_log_line_has_documented_fields(block: Block) -> None:
    line = json.loads(block.text)
    assert set(line) <= {field.name for field in all_fields()}
    assert line.get("event", EVENTS[0].event) in {each.event for each in EVENTS}


def test_capacity_has_a_figure_for_each_measurement() -> None:
    assert {row[0] for row in _ROWS} == set(MEASURED)


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: str(row[0]))
def test_a_figure_was_measured(row: tuple[str, str, str]) -> None:
    what, said, file = row
    results = json.loads((ROOT / "benchmarks/results" / file).read_text("utf-8"))
    proxy, names = MEASURED[what]
    measured = [float(results["medians"][proxy][name]) for name in names]
    figures = [
        float(each.replace(",", "")) for each in re.findall(r"(?<!\w)\d[\d,]*(?:\.\d+)?", said)
    ]
    if len(figures) == 1:
        figures *= len(measured)
    assert figures == pytest.approx(measured, rel=0.05)
