"""The numbers of one process or of several, and how they add up.

Owns: the rule of each kind, and the form that goes from process to process.

Must not know: which processes there are, the text that is scraped.

What comes from another process is checked against the table: it may be of another version, with
other labels and buckets. What does not fit is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.observability.metrics.table import METRICS, Kind, Metric, Rule


@dataclass(slots=True)
class Histogram:
    """``counts``: how many values each bucket has, those of lower ones not included; the last is
    what is beyond all bounds.
    """

    sum: float
    counts: list[int]

    @classmethod
    def empty(cls, metric: Metric) -> Histogram:
        """Make one without values."""
        return cls(0.0, [0] * (len(metric.buckets) + 1))

    def add(self, other: Histogram) -> None:
        """Add another one's values."""
        self.sum += other.sum
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]


Value = float | Histogram


class Samples:
    """Values by metric and labels."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Metric, dict[tuple[str, ...], Value]] = {}

    def __iter__(self) -> Iterator[tuple[Metric, dict[tuple[str, ...], Value]]]:
        return iter(self._values.items())

    def of(self, metric: Metric) -> dict[tuple[str, ...], Value]:
        """Return the values of one metric, by labels."""
        return self._values.get(metric, {})

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a counter's or a gauge's value to what is there, by the metric's rule."""
        assert len(labels) == len(metric.labels), metric.name
        values = self._values.setdefault(metric, {})
        known = values.get(labels)
        if known is None:
            values[labels] = value
        elif isinstance(known, Histogram):
            raise TypeError(f"{metric.name} is a histogram")
        elif metric.kind is Kind.COUNTER or metric.rule is Rule.SUM:
            values[labels] = known + value
        else:
            values[labels] = max(known, value) if metric.rule is Rule.MAX else min(known, value)

    def add_histogram(self, metric: Metric, histogram: Histogram, *labels: str) -> None:
        """Add a histogram's values to what is there."""
        assert len(labels) == len(metric.labels), metric.name
        values = self._values.setdefault(metric, {})
        known = values.get(labels)
        if known is None:
            known = values[labels] = Histogram.empty(metric)
        assert isinstance(known, Histogram)
        known.add(histogram)

    def merge(self, other: Samples, *, gauges: bool = True) -> None:
        """Add another process's values; without ``gauges`` only what it has counted."""
        for metric, values in other:
            if metric.kind is Kind.GAUGE and not gauges:
                continue
            for labels, value in values.items():
                if isinstance(value, Histogram):
                    self.add_histogram(metric, value, *labels)
                else:
                    self.add(metric, value, *labels)

    def without(self, metric: Metric, *labels: str) -> None:
        """Take one value out, if it is there."""
        self._values.get(metric, {}).pop(labels, None)

    def in_words(self) -> dict[str, Any]:
        """Return them as a JSON object."""
        return {
            metric.name: [[list(labels), _in_words(value)] for labels, value in values.items()]
            for metric, values in self._values.items()
        }

    @classmethod
    def of_words(cls, words: object) -> Samples:
        """Read what ``in_words`` made, as far as it fits into this version's table."""
        samples = cls()
        if not isinstance(words, dict):
            return samples
        for name, rows in words.items():
            metric = METRICS.get(name)
            if metric is None or not isinstance(rows, list):
                continue
            for row in rows:
                read = _read_row(metric, row)
                if read is not None:
                    labels, value = read
                    if isinstance(value, Histogram):
                        samples.add_histogram(metric, value, *labels)
                    else:
                        samples.add(metric, value, *labels)
        return samples


def _in_words(value: Value) -> object:
    return [value.sum, value.counts] if isinstance(value, Histogram) else value


def _read_row(metric: Metric, row: object) -> tuple[tuple[str, ...], Value] | None:
    match row:
        case [list(labels), [int() | float() as total, list(counts)]]:
            fits = metric.kind is Kind.HISTOGRAM and len(counts) == len(metric.buckets) + 1
            fits = fits and all(isinstance(each, int) for each in counts)
            value: Value = Histogram(float(total), counts)
        case [list(labels), int() | float() as number]:
            fits = metric.kind is not Kind.HISTOGRAM and math.isfinite(number)
            value = number
        case _:
            return None
    fits = fits and len(labels) == len(metric.labels)
    return (tuple(map(str, labels)), value) if fits else None
