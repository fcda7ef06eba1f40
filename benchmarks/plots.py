"""Pictures of saved results, for the documentation.

Owns: what is drawn from which result: bulk, memory, growth. ``./dev bench plot`` draws again from
the newest files in ``benchmarks/results``; matplotlib comes from ``deploy/lock/bench.txt``, which
only ``./dev bench`` installs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from benchmarks.load import growth, memory
from benchmarks.report import latest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER: Final = Path(__file__).parent.parent / "docs/images"
# Told apart by those who see no colours, and in grey.
_COLOURS: Final = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7")

Result = Mapping[str, Any]


def draw(console: Console, folder: Path = FOLDER) -> int:
    """Draw what there are results for; return 1 if nothing could be drawn."""
    try:
        import matplotlib
    except ImportError:
        console.print("no pictures: matplotlib is missing (./dev bench installs it)")
        return 1
    matplotlib.use("Agg")
    drawn = 0
    for name, benchmark, fill in (
        ("bulk", "relay", _bulk),
        ("memory", "load", _memory),
        ("growth", "load", _growth),
    ):
        found = latest(benchmark)
        if found is None or "figures" not in found[1]:
            console.print(f"no picture of {name}: ./dev bench {benchmark} has saved nothing")
            continue
        path = folder / f"performance-{name}.png"
        _draw_one(path, fill, found[1], f"{found[0].name}: {found[1]['machine']}")
        console.print(f"drawn {path} from {found[0].name}")
        drawn += 1
    return int(not drawn)


def _draw_one(path: Path, fill: Any, result: Result, source: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    fill(axes, result)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.supxlabel(source, fontsize=6, color="#666666")
    # Without the version of the program a picture that did not change is the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _bulk(axes: Axes, result: Result) -> None:
    names = [name for name in result["samples"] if name != "direct"]
    rows = {"agent → controller": "upload CPU s/GiB", "controller → agent": "download CPU s/GiB"}
    _bars(axes, result["samples"], names, rows)
    axes.set_ylabel("CPU seconds per GiB (user + system)")
    axes.set_title("One session in bulk, TLS in and out: median, least and most of the rounds")


def _memory(axes: Axes, result: Result) -> None:
    rows = {"never in bulk": memory.NEVER, "after bulk": memory.AFTER}
    samples = result["samples"]
    _bars(axes, samples, [name for name in memory.PROXIES if name in samples], rows)
    axes.set_ylabel("KiB per session (PSS)")
    axes.set_title(f"Memory of {result['settings']['sessions']:,} idle sessions, TLS in and out")


def _bars(
    axes: Axes,
    samples: Mapping[str, Mapping[str, Sequence[float]]],
    names: Sequence[str],
    rows: Mapping[str, str],
) -> None:
    width = 0.8 / len(rows)
    for index, (label, what) in enumerate(rows.items()):
        values = [sorted(samples[name][what]) for name in names]
        middle = [each[len(each) // 2] for each in values]
        spread = [
            [at - each[0] for at, each in zip(middle, values, strict=True)],
            [each[-1] - at for at, each in zip(middle, values, strict=True)],
        ]
        places = [place + index * width for place in range(len(names))]
        bars = axes.bar(
            places, middle, width * 0.95, yerr=spread, capsize=3, label=label, color=_COLOURS[index]
        )
        axes.bar_label(bars, fmt="%.3g", label_type="center")
    axes.set_xticks([place + width * (len(rows) - 1) / 2 for place in range(len(names))], names)


def _growth(axes: Axes, result: Result) -> None:
    medians = result["growth"]["medians"]
    for index, (label, what) in enumerate(
        {
            "64 KiB batches, CPU/GiB": growth.SPREAD,
            "2 KiB messages, CPU each": growth.MESSAGES,
            "bulk of one among idle others": growth.BESIDE,
            "set-up of a session": growth.SETUP,
        }.items()
    ):
        for proxy, style in (("gateway", "o-"), ("haproxy", "x:")):
            found = {
                int(name.rpartition(", ")[2]): into[what]
                for name, into in medians.items()
                if name.startswith(f"{proxy}, ")
            }
            if not found:
                continue
            fewest = found[min(found)]
            axes.plot(
                list(found),
                [value / fewest for value in found.values()],
                style,
                label=f"{label}, {proxy}",
                color=_COLOURS[index],
            )
    axes.axhspan(0.9, 1.1, color="#eeeeee", zorder=0)
    axes.set_xscale("log")
    numbers = sorted({int(name.rpartition(", ")[2]) for name in medians})
    axes.set_xticks(numbers, [f"{each:,}" for each in numbers])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("sessions")
    axes.set_ylabel("CPU, against the fewest sessions")
    axes.set_title("Growth: what the same work costs with more sessions (grey: ± 10 %)")
