"""What benchmarks do with their samples: medians, ratios of paired runs, and a file.

Owns: the line that describes the machine, and the form of a result.
"""

from __future__ import annotations

import json
import os
import platform
import ssl
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"


class Unavailable(Exception):
    """This benchmark cannot run here; the text says why and what would help."""


# Of one thing -> measurement -> one value of each round.
Samples = dict[str, dict[str, list[float]]]


def machine_line() -> str:
    """Describe the machine in one line, without its name."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release().split('-')[0]}, "
        f"CPython {sys.version.split()[0]}, far ends {ssl.OPENSSL_VERSION}"
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def medians_of(samples: Samples) -> dict[str, dict[str, float]]:
    """Return the median of the rounds for each measurement."""
    return {
        name: {what: median(values) for what, values in into.items()}
        for name, into in samples.items()
    }


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass(frozen=True)
class Ratio:
    """What one thing is to another, round by round: drifts of the machine meet both alike."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return the ratio of what was measured in the same rounds: its median and its spread."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True, slots=True)
class Figure:
    """What a target is held against: ``value`` in the target's unit, round by round.

    ``said`` is what was measured besides where ``value`` is a ratio.
    """

    value: float
    least: float
    most: float
    said: str = ""


def figure(values: Sequence[float]) -> Figure:
    """Return the median of ``values`` and their spread."""
    return Figure(median(values), min(values), max(values))


def against(samples: Samples, ours: str, theirs: str, what: str, unit: str) -> Figure | None:
    """Return what ``ours`` is to ``theirs`` in ``what``; None where ``theirs`` was not there."""
    if theirs not in samples:
        return None
    ratio = paired_ratio(samples[ours][what], samples[theirs][what])
    own, other = median(samples[ours][what]), median(samples[theirs][what])
    said = f"{own:.3g} {unit}, {theirs} {other:.3g}"
    return Figure(ratio.median, ratio.least, ratio.most, said)


def result(
    *,
    settings: dict[str, Any],
    versions: dict[str, str],
    samples: Samples,
    figures: dict[str, Figure | None],
    **more: Any,
) -> dict[str, Any]:
    """Return what is saved; ``figures`` that could not be had are left out."""
    return {
        "machine": machine_line(),
        "load_average": os.getloadavg()[0],
        "settings": settings,
        "versions": versions,
        "figures": {name: asdict(each) for name, each in figures.items() if each is not None},
        "medians": medians_of(samples),
        **more,
        "samples": samples,
    }


def save(name: str, result: dict[str, Any]) -> Path:
    """Write ``result`` under today's date; return the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def latest(name: str, folder: Path = RESULTS) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest saved result of the benchmark ``name``, or None."""
    found = sorted(folder.glob(f"{name}-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"))
    return (found[-1], json.loads(found[-1].read_text())) if found else None


def print_medians(console: Console, title: str, samples: Samples) -> None:
    """Print a table of the rounds' medians: a row for each measurement, a column for each thing."""
    medians = medians_of(samples)
    rows = dict.fromkeys(what for into in medians.values() for what in into)
    table = Table(title=title)
    table.add_column("median")
    for name in medians:
        table.add_column(name, justify="right")
    for what in rows:
        values = [into.get(what) for into in medians.values()]
        table.add_row(what, *["-" if value is None else f"{value:.3g}" for value in values])
    console.print(table)
