"""Which metrics an expression of PromQL names, and with which labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.observability.metrics.table import METRICS, PREFIX, Kind, Metric

_NAME = re.compile(rf"\b{PREFIX}[a-z0-9_]+")
_SELECTED = re.compile(rf"\b({PREFIX}[a-z0-9_]+){{([^}}]*)}}")
# What Prometheus itself adds to each series.
_TARGET = {"job", "instance"}


def metrics_in(expression: str) -> Iterator[Metric]:
    """Yield the metrics that an expression names. Raises KeyError for one that there is not."""
    for name in _NAME.findall(expression):
        yield _metric(name)


def _metric(name: str) -> Metric:
    for suffix in ("_bucket", "_sum", "_count"):
        base = METRICS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base is not None and base.kind is Kind.HISTOGRAM:
            return base
    metric = METRICS[name]
    assert metric.kind is not Kind.HISTOGRAM, f"{name} is a histogram"
    return metric


def check_labels(expression: str) -> None:
    """See that labels which are selected or grouped by are those of a metric that is named."""
    for name, matchers in _SELECTED.findall(expression):
        known = {*_metric(name).labels, *_TARGET}
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in known, f"{name} has no {label}"
    known = {"le", "alertname", *_TARGET}
    for metric in metrics_in(expression):
        known |= set(metric.labels)
    for group in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        for label in re.split(r",\s*", group):
            assert label in known, f"nothing has {label}"
