"""The table of targets."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.targets import PAGE, TARGETS, as_markdown, rows, write_into


def _result(figure: str, value: float) -> dict[str, Any]:
    figures = {figure: {"value": value, "least": value, "most": value, "said": "haproxy 2"}}
    return {"figures": figures, "settings": {"sessions": 5000, "mib": 1024}}


def test_every_target_is_measured_by_a_benchmark_and_once() -> None:
    assert {target.benchmark for target in TARGETS} <= set(BENCHMARKS)
    assert len({(target.benchmark, target.figure) for target in TARGETS}) == len(TARGETS)


def test_a_target_is_met_up_to_its_limit() -> None:
    target = TARGETS[0]
    for value, met in ((target.limit, True), (target.limit + 0.001, False)):
        row = rows({target.benchmark: _result(target.figure, value)})[0]
        assert (row.met, row.besides) == (met, "haproxy 2")


@pytest.mark.parametrize(("value", "met"), [(0.89, False), (0.9, True), (1.1, True), (1.11, False)])
def test_growth_is_flat_or_not(value: float, *, met: bool) -> None:
    result = _result("growth, spread", value)
    (row,) = [row for row in rows({"load": result}) if row.met is not None]
    assert row.met is met
    assert "5,000 sessions" in row.what


def test_what_was_not_measured_says_how_to() -> None:
    row = rows({"relay": {"medians": {}}})[0]
    assert row.met is None
    assert "./dev bench relay" in row.measured


def test_the_table_goes_between_the_comments_of_the_page() -> None:
    page = PAGE.read_text("utf-8")
    written = write_into(page, as_markdown({}))
    assert written.count("not measured (./dev bench") == len(TARGETS)
    assert write_into(written, as_markdown({})) == written
    with pytest.raises(ValueError, match="targets"):
        write_into("nothing", "")
