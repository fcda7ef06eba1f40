"""What thousands of agents cost.

Owns: the order of the parts, and the tables. CPU is user + system of all processes of a proxy, PSS
the memory of all of them. The gateway has its default configuration but for
``agents.handshake_rate`` (agents that come at once would wait in line), and judges secrets that it
issued itself (mode ``nodes``).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from rich.console import Console

from benchmarks.load import growth, memory, setups
from benchmarks.load.setting import Sizes, setting
from benchmarks.report import (
    Figure,
    Samples,
    figure,
    machine_line,
    medians_of,
    paired_ratio,
    print_medians,
    result,
)

GROWING: Final = {
    "set-up": growth.SETUP,
    "spread": growth.SPREAD,
    "messages": growth.MESSAGES,
    "beside": growth.BESIDE,
}


def run(sizes: Sizes) -> dict[str, Any]:
    """Measure, print, and return the result."""
    whole: Samples = defaultdict(lambda: defaultdict(list))
    grown: Samples = defaultdict(lambda: defaultdict(list))
    workers: Samples = defaultdict(lambda: defaultdict(list))
    versions: dict[str, str] = {}
    with setting(sizes) as prepared:
        setups.measure(prepared, whole, versions)
        memory.measure(prepared, whole, rounds=max(1, sizes.runs // 2))
        growth.measure(prepared, grown)
        growth.measure_workers(prepared, workers)
    console = Console(width=140)
    console.print(machine_line())
    print_medians(console, f"{sizes.sessions} sessions, TLS in and out", whole)
    print_medians(console, "growth: the same work at so many sessions", grown)
    print_medians(console, "100 sessions, 1 and 2 workers", workers)
    return result(
        settings={name: getattr(sizes, name) for name in sizes.__slots__},
        versions=versions,
        samples=whole,
        figures=figures_of(sizes, whole, grown, workers),
        growth={"medians": medians_of(grown), "samples": grown},
        workers={"medians": medians_of(workers), "samples": workers},
    )


def figures_of(
    sizes: Sizes, whole: Samples, grown: Samples, workers: Samples
) -> dict[str, Figure | None]:
    """Return what the targets are held against."""
    most = f"gateway, {sizes.sessions}"
    figures: dict[str, Figure | None] = {
        "idle KiB": _beside(whole, memory.NEVER),
        "idle KiB after bulk": _beside(whole, memory.AFTER),
        "idle %": figure(grown[most][growth.IDLE]),
        "set-up ms": _beside(whole, setups.SETUP),
        "workers": paired(workers, "2 workers", "1 worker", growth.SPREAD),
    }
    for name, what in GROWING.items():
        figures[f"growth, {name}"] = _growth(sizes, grown, what)
    return figures


def _beside(whole: Samples, what: str) -> Figure:
    own = figure(whole["gateway"][what])
    others = [
        f"{name} {figure(into[what]).value:.3g}"
        for name, into in whole.items()
        if name != "gateway"
    ]
    return Figure(own.value, own.least, own.most, ", ".join(others))


def paired(samples: Samples, ours: str, theirs: str, what: str) -> Figure:
    ratio = paired_ratio(samples[ours][what], samples[theirs][what])
    return Figure(ratio.median, ratio.least, ratio.most)


def _growth(sizes: Sizes, grown: Samples, what: str) -> Figure:
    """Return the ratio to the fewest sessions that is farthest from 1, of all larger numbers."""
    fewest = sizes.growth[0]

    def ratios(name: str) -> list[Figure]:
        few = f"{name}, {fewest}"
        return [paired(grown, f"{name}, {each}", few, what) for each in sizes.growth[1:]]

    def course(name: str) -> str:
        return " / ".join(f"{each.value:.2f}" for each in ratios(name))

    numbers = " / ".join(f"{each:,}" for each in sizes.growth[1:])
    said = f"at {numbers} sessions against {fewest}: {course('gateway')}"
    if f"haproxy, {fewest}" in grown:
        said += f", haproxy {course('haproxy')}"
    farthest = max(ratios("gateway"), key=lambda each: abs(each.value - 1))
    return Figure(farthest.value, farthest.least, farthest.most, said)
