"""Counting in one process.

Owns: counters and histograms as plain numbers, and the bound on how many label values one metric
can have.

Must not know: what is counted, who asks for it.

A count is two look-ups in dictionaries, an observation also a bisection. Nothing is locked, since
one event loop counts, and nothing is checked: labels are given in the table's order.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import SERIES_DROPPED, Metric

# Label values of one metric in one process. 200 routes with ten codes and two methods have 4,000;
# reloads that rename things for ever end here.
MOST_SERIES: Final = 5_000
OTHER: Final = "other"


class Meters:
    """What one worker has counted since it began."""

    __slots__ = ("_counters", "_histograms", "_most")

    def __init__(self, *, most: int = MOST_SERIES) -> None:
        """``most``: label values of one metric; what is beyond has the labels ``other``."""
        self._most = most
        self._counters: dict[Metric, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[Metric, dict[tuple[str, ...], Histogram]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        try:
            self._counters[metric][labels] += by
        except KeyError:
            self._begin(metric, labels, by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        try:
            histogram = self._histograms[metric][labels]
        except KeyError:
            histogram = self._begin_histogram(metric, labels)
        histogram.sum += value
        histogram.counts[bisect_left(metric.buckets, value)] += 1

    def add_to(self, samples: Samples) -> None:
        """Put everything into ``samples``."""
        for metric, values in self._counters.items():
            for labels, value in values.items():
                samples.add(metric, value, *labels)
        for metric, histograms in self._histograms.items():
            for labels, histogram in histograms.items():
                samples.add_histogram(metric, histogram, *labels)

    def _begin(self, metric: Metric, labels: tuple[str, ...], by: float) -> None:
        values = self._counters.setdefault(metric, {})
        if len(values) >= self._most:
            labels = self._dropped(metric)
        values[labels] = values.get(labels, 0) + by

    def _begin_histogram(self, metric: Metric, labels: tuple[str, ...]) -> Histogram:
        histograms = self._histograms.setdefault(metric, {})
        if len(histograms) >= self._most:
            labels = self._dropped(metric)
        return histograms.setdefault(labels, Histogram.empty(metric))

    def _dropped(self, metric: Metric) -> tuple[str, ...]:
        self.count(SERIES_DROPPED)
        return (OTHER,) * len(metric.labels)
