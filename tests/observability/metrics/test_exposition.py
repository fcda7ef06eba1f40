"""The text: formats, escaping, and names that somebody chose with malice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable

import pytest
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from gateway.observability.metrics.exposition import MOST_LABEL, expose, show
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import (
    METRICS,
    NODE_START,
    PER_NODE,
    ROUND_TRIP,
    SESSIONS_OPENED,
    Kind,
)
from tests.tools import require_tool

HOSTILE = [
    'quote " and \\ backslash',
    "two\nlines\r\nand \x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029 more",
    "\x00\x01\x1b[31mred\x7f\x9b",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "x" * 300,
    "<script>alert(1)</script>",
    '"} 1\nremoting_gateway_ready{a="',
    "\ud800 a lone half",
    "Bücher \u05e9\u05dc\u05d5\u05dd 🚀",
    "",
]


def hostile() -> Samples:
    samples = Samples()
    for i, name in enumerate(HOSTILE):
        samples.add(NODE_START, i, "main", name)
    return samples


def test_every_metric_has_its_head_and_nothing_else_has() -> None:
    _, data = expose(Samples())
    heads = {line.split()[2] for line in data.decode().splitlines() if line.startswith("# TYPE")}
    assert heads == {name for name, metric in METRICS.items() if metric not in PER_NODE}


def test_a_histogram_is_cumulative() -> None:
    meters = Meters()
    for value in (0.002, 0.002, 99.0):
        meters.observe(ROUND_TRIP, value, "main")
    samples = Samples()
    meters.add_to(samples)
    lines = expose(samples)[1].decode().splitlines()
    name = ROUND_TRIP.name
    assert f'{name}_bucket{{controller="main",le="0.001"}} 0.0' in lines
    assert f'{name}_bucket{{controller="main",le="0.0025"}} 2.0' in lines
    assert f'{name}_bucket{{controller="main",le="+Inf"}} 3.0' in lines
    assert f'{name}_count{{controller="main"}} 3.0' in lines
    assert f'{name}_sum{{controller="main"}} 99.004' in lines


def test_openmetrics_for_who_asks() -> None:
    samples = Samples()
    samples.add(SESSIONS_OPENED, 3, "main", "jnlp4")
    kind, data = expose(samples, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    families = {family.name: family for family in read_openmetrics(data.decode())}  # type: ignore[no-untyped-call]
    (sample,) = families["remoting_gateway_sessions_opened"].samples
    assert (sample.name, sample.value) == (SESSIONS_OPENED.name, 3)
    assert data.endswith(b"# EOF\n")


def one_of_each() -> Samples:
    samples = Samples()
    for metric in METRICS.values():
        labels = [f"a {label}" for label in metric.labels]
        if metric.kind is Kind.HISTOGRAM:
            samples.add_histogram(metric, Histogram(3.5, [1] * (len(metric.buckets) + 1)), *labels)
        else:
            samples.add(metric, 2, *labels)
    return samples


@pytest.mark.parametrize(
    ("accept", "read"), [(None, read_text), ("application/openmetrics-text", read_openmetrics)]
)
def test_both_formats_can_be_read(
    accept: str | None, read: Callable[[str], Iterable[Family]]
) -> None:
    kind, data = expose(one_of_each(), accept)
    assert ("openmetrics" in kind) is (accept is not None)
    families = {family.name: family for family in read(data.decode())}
    assert len(families) == len(METRICS)
    for name, metric in METRICS.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        values = {sample.value for sample in family.samples if sample.name == name}
        assert values == (set() if metric.kind is Kind.HISTOGRAM else {2.0})


@pytest.mark.parametrize("accept", [None, "", "*/*", "nonsense;;=", "text/html,\x00"])
def test_the_text_format_for_everybody_else(accept: str | None) -> None:
    kind, data = expose(Samples(), accept)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert data.startswith(b"# HELP ")


def test_a_hostile_name_is_one_line() -> None:
    _, data = expose(hostile())
    text = data.decode()
    rows = [line for line in text.splitlines() if line.startswith(f"{NODE_START.name}{{")]
    assert len(rows) == len(HOSTILE)
    assert text.count("\n") == len(text.splitlines())  # nothing else ends a line
    assert all(c == "\n" or c.isprintable() for c in text)
    (family,) = (each for each in read_text(text) if each.name == NODE_START.name)
    found = {int(sample.value): sample.labels["node"] for sample in family.samples}
    assert found == {i: show(name) for i, name in enumerate(HOSTILE)}
    assert found[0] == HOSTILE[0]
    assert found[8] == HOSTILE[8]


def test_promtool_takes_hostile_names() -> None:
    promtool = require_tool("promtool")
    _, data = expose(hostile())
    done = subprocess.run([promtool, "check", "metrics"], input=data, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_names_that_become_the_same_are_added_up() -> None:
    samples = Samples()
    samples.add(SESSIONS_OPENED, 1, "x" * 300, "jnlp4")
    samples.add(SESSIONS_OPENED, 2, "x" * 301, "jnlp4")
    rows = [x for x in expose(samples)[1].splitlines() if b"sessions_opened_total{" in x]
    assert len(rows) == 1
    assert rows[0].endswith(b" 3.0")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_shown_can_be_shown(name: str) -> None:
    shown = show(name)
    assert len(shown) <= MOST_LABEL
    assert shown.isprintable()
    shown.encode()  # raises for what is no character


def test_kinds_are_named() -> None:
    lines = set(expose(Samples())[1].decode().splitlines())
    for name, metric in METRICS.items():
        if metric not in PER_NODE:
            assert f"# TYPE {name} {metric.kind.value}" in lines
