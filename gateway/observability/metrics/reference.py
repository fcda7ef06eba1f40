"""The reference of all metrics, from the table.

Owns: how the page looks.

Must not know: values.
"""

from __future__ import annotations

from gateway.observability.metrics.table import METRICS, PER_NODE, Kind, Metric

_HEAD = """\
# Metrics

What is scraped, and what `remoting-gateway metrics` prints: the text format of Prometheus, or
OpenMetrics for who asks for it by `Accept`. All numbers are those of the whole gateway: of all its
workers together, those that have ended included. A counter goes on through reloads, replaced
workers and upgrades, and begins anew with a restart. Of a worker that is killed, what it counted in
its last ten seconds may be lost.

Labels are bounded: they are names of the configuration, or words of a short list. Node names are in
those of `metrics.per_node: true` alone.
"""


def metrics_page() -> str:
    """Return the page as Markdown."""
    usual = [metric for metric in METRICS.values() if metric not in PER_NODE]
    parts = [_HEAD, _table(usual), "## With `metrics.per_node: true`\n", _table(PER_NODE)]
    parts += ["## Buckets of histograms\n", _buckets()]
    return "\n".join(parts)


def _table(metrics: list[Metric] | tuple[Metric, ...]) -> str:
    lines = ["| metric | type | labels | meaning | several workers |", "|---|---|---|---|---|"]
    for each in metrics:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rule = each.rule.value if each.kind is Kind.GAUGE else "sum"
        lines.append(f"| `{each.name}` | {each.kind.value} | {labels} | {each.help} | {rule} |")
    return "\n".join(lines) + "\n"


def _buckets() -> str:
    lines = [
        f"* `{each.name}`: {', '.join(f'{bound:g}' for bound in each.buckets)}"
        for each in METRICS.values()
        if each.buckets
    ]
    return "\n".join(lines) + "\n"
