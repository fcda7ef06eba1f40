"""The page about metrics: all of them, and as it is kept in docs/."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.observability.metrics.reference import metrics_page
from gateway.observability.metrics.table import METRICS

PAGE = Path(__file__).parents[3] / "docs/reference/metrics.md"


def test_every_metric_is_on_it_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", metrics_page(), re.MULTILINE)
    assert rows == list(METRICS)


def test_the_page_in_docs_is_this_one() -> None:
    assert PAGE.read_text() == metrics_page(), "./dev reference writes it anew"


def test_rows_have_the_tables_columns() -> None:
    for line in metrics_page().splitlines():
        if line.startswith("|"):
            assert line.count("|") == 6, line
