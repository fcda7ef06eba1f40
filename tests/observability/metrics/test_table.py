"""The table: names as Prometheus wants them, each once."""

from __future__ import annotations

import re

import pytest

from gateway.observability.metrics.table import METRICS, PREFIX, Kind, Metric

ROWS = list(METRICS.values())
# As base units; whatever ends in one of these says so.
UNITS = ("seconds", "bytes")


@pytest.mark.parametrize("metric", ROWS, ids=lambda metric: metric.name)
def test_a_row_keeps_the_rules(metric: Metric) -> None:
    assert re.fullmatch(rf"{PREFIX}[a-z][a-z0-9_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    bare = metric.name.removesuffix("_total")
    assert (bare.rpartition("_")[2] if bare.endswith(UNITS) else "") == metric.unit
    assert metric.help.endswith(".")
    assert "|" not in metric.help  # it stands in a table
    assert "\n" not in metric.help
    assert len(set(metric.labels)) == len(metric.labels)
    assert not {"le", "quantile", "job", "instance"} & set(metric.labels)


@pytest.mark.parametrize("metric", ROWS, ids=lambda metric: metric.name)
def test_buckets_grow_and_are_those_of_histograms(metric: Metric) -> None:
    assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_node_names_are_opt_in() -> None:
    with_nodes = [metric for metric in ROWS if "node" in metric.labels]
    assert with_nodes
    assert all("metrics.per_node" in metric.help for metric in with_nodes)
