"""The text that Prometheus scrapes.

Owns: which of its formats is chosen, that every metric of the table has its head, and that a label
value cannot break a line, whoever chose it.

Must not know: where samples come from.

The library escapes what the format demands: backslash, quote, line feed. Everything else is legal
there, and is shown on terminals and pages all the same: so control characters, line separators and
what turns the direction of writing are written out (``\\u202e``), and long values are cut. Values
that become the same by that are added up, since no line may come twice.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import METRICS, PER_NODE, Kind, Metric

MOST_LABEL: Final = 256  # characters of a label's value
# Control, format (which turn the direction), surrogates, and separators of lines and paragraphs.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def expose(samples: Samples, accept: str | None = None) -> tuple[str, bytes]:
    """Return content type and text; ``accept`` is the header of whoever asks.

    OpenMetrics for who wants it, else the text format, version 0.0.4.
    """
    encode, content_type = choose_encoder(accept or "text/plain")
    return content_type, encode(_Families(samples))


class _Families(Collector):
    """Samples as the library wants them. Not registered anywhere: it is one answer."""

    def __init__(self, samples: Samples) -> None:
        self._samples = Samples()
        for metric, values in samples:
            for labels, value in values.items():
                shown = map(show, labels)
                if isinstance(value, Histogram):
                    self._samples.add_histogram(metric, value, *shown)
                else:
                    self._samples.add(metric, value, *shown)

    def collect(self) -> Iterator[Family]:
        for metric in METRICS.values():
            values = self._samples.of(metric)
            if values or metric not in PER_NODE:
                yield _family(metric, values.items())


def _family(metric: Metric, rows: Iterable[tuple[tuple[str, ...], float | Histogram]]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*(str(float(each)) for each in metric.buckets), "+Inf"]
        for labels, value in rows:
            assert isinstance(value, Histogram)
            buckets = list(zip(bounds, accumulate(value.counts), strict=True))
            histograms.add_metric(labels, buckets, value.sum)
        return histograms
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        assert not isinstance(value, Histogram)
        family.add_metric(labels, value)
    return family


def show(value: str) -> str:
    """Return a label's value without what does not belong on a line, at most 256 characters."""
    if value.isascii() and value.isprintable() and len(value) <= MOST_LABEL:
        return value
    shown = "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in _UNSHOWN else c for c in value)
    return shown if len(shown) <= MOST_LABEL else f"{shown[: MOST_LABEL - 3]}..."
