"""What performance is aimed at, and what was measured of it, in one table.

Owns: the targets. Each names the benchmark and the figure of its result that it is held against.
``docs/performance.md`` has the table between two comments; ``./dev bench summary --write`` fills it
in from the saved results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

PAGE: Final = Path(__file__).parent.parent / "docs/performance.md"
_BEGIN: Final = "<!-- targets: written by ./dev bench summary --write -->"
_END: Final = "<!-- end of targets -->"
_HEAD: Final = ("what", "target", "measured", "of it", "met")


@dataclass(frozen=True, slots=True)
class Target:
    """At most ``limit`` (``unit`` "x": a ratio); with ``least`` also at least that."""

    what: str
    benchmark: str
    figure: str
    limit: float
    unit: str
    against: str = ""
    least: float | None = None

    def said(self) -> str:
        if self.least is not None:
            return f"flat: {self.least:g} to {self.limit:g} x"
        return f"≤ {self.limit:g} {self.unit} {self.against}".rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. ``met`` is None where nothing was measured."""

    what: str
    target: str
    measured: str
    besides: str
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "yes", False: "no", None: "-"}[self.met]
        return self.what, self.target, self.measured, self.besides, verdict


def _growth(what: str, name: str, benchmark: str = "load") -> Target:
    return Target(what, benchmark, name, 1.1, "x", least=0.9)


TARGETS: Final = (
    Target("bulk agent → controller, CPU/GiB", "relay", "up / haproxy", 0.9, "x", "HAProxy"),
    Target("bulk controller → agent, CPU/GiB", "relay", "down / haproxy", 0.8, "x", "HAProxy"),
    Target("relay bulk up, CPU/GiB", "relay", "relayed up / haproxy", 1.0, "x", "HAProxy"),
    Target("relay bulk down, CPU/GiB", "relay", "relayed down / haproxy", 1.0, "x", "HAProxy"),
    Target("lone 200-byte round trip, p50", "relay", "p50 / nginx", 1.5, "x", "nginx"),
    Target("lone 200-byte round trip, p99", "relay", "p99 / nginx", 2.0, "x", "nginx"),
    Target(
        "mixed: 200 sessions, 2 KiB each 50 ms, CPU",
        "relay",
        "mixed / haproxy",
        2.0,
        "x",
        "HAProxy",
    ),
    Target("idle session, PSS, never in bulk", "load", "idle KiB", 110, "KiB"),
    Target("idle session, PSS, after bulk", "load", "idle KiB after bulk", 150, "KiB"),
    Target("idle sessions with pings, of a core", "load", "idle %", 3, "%"),
    Target("session set-up, CPU", "load", "set-up ms", 2.5, "ms"),
    Target("HTTP small request, TLS, keep-alive, CPU", "http", "small ms", 0.25, "ms"),
    Target("large download, CPU", "http", "download / haproxy", 1.0, "x", "HAProxy"),
    Target("large upload, CPU", "http", "upload / haproxy", 1.0, "x", "HAProxy"),
    _growth("growth: batches spread over all sessions", "growth, spread"),
    _growth("growth: small messages of all sessions", "growth, messages"),
    _growth("growth: bulk of one among idle others", "growth, beside"),
    _growth("growth: set-up among others", "growth, set-up"),
    _growth("growth: CPU/GiB, 2 workers against 1", "workers"),
)


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Hold every target against the results, which have the names of benchmarks."""
    return [_row(target, results.get(target.benchmark, {})) for target in TARGETS]


def _row(target: Target, result: Mapping[str, Any]) -> Row:
    figure = result.get("figures", {}).get(target.figure)
    if figure is None:
        missing = f"not measured (./dev bench {target.benchmark})"
        return Row(target.what, target.said(), missing, "", None)
    value = float(figure["value"])
    met = value <= target.limit and (target.least is None or value >= target.least)
    spread = f"{figure['least']:.2f} to {figure['most']:.2f}"
    return Row(
        _with_size(target, result.get("settings", {})),
        target.said(),
        f"{value:.2f} {target.unit} ({spread})",
        str(figure["said"]),
        met,
    )


def _with_size(target: Target, settings: Mapping[str, Any]) -> str:
    """Say how large it was, where a result may have been made with other sizes."""
    if target.figure.startswith(("idle", "growth")):
        return f"{target.what}, {settings['sessions']:,} sessions"
    if "load, CPU" in target.what:
        return f"{target.what}, {settings['mib']:,} MiB"
    return target.what


def print_table(console: Console, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print all targets; medians, and the least and most of the rounds."""
    table = Table(title="targets: median (least to most of the rounds)")
    for name in _HEAD:
        table.add_column(name, overflow="fold")
    for row in rows(results):
        style = {True: "", False: "bold", None: "dim"}[row.met]
        table.add_row(*row.cells(), style=style)
    console.print(table)


def as_markdown(saved: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> str:
    """Return the table as it stands in the documentation, and what it was made from."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|---" * len(_HEAD) + "|"]
    found = {name: result for name, (_, result) in saved.items()}
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows(found)]
    for path, result in saved.values():
        if result.get("figures"):
            settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
            versions = ", ".join(result["versions"].values())
            lines += ["", f"`benchmarks/results/{path.name}`: {result['machine']};"]
            lines += [f"load average {result['load_average']:.1f}; {settings}; {versions}."]
    return "\n".join(lines)


def write_into(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between the two comments. Raises ValueError without them."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"no {_BEGIN} ... {_END}")
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}"
