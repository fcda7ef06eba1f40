"""Run one benchmark, or without a name all of them, and hold the results against the targets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console

from benchmarks import plots, targets
from benchmarks.http import run as http
from benchmarks.load import run as load
from benchmarks.load.setting import Sizes as LoadSizes
from benchmarks.micro import run as micro
from benchmarks.relay import run as relay
from benchmarks.report import Unavailable, latest, save
from benchmarks.timing import run as timing
from benchmarks.tunnels import run as tunnels

Result = dict[str, Any]

# What --quick sets: each benchmark runs to its end in a minute or so, and its figures say nothing.
_QUICK: Final = {
    "mib": 16,
    "runs": 1,
    "round_trips": 50,
    "seconds": 1,
    "mixed_seconds": 2,
    "sessions": 50,
    "idle_seconds": 3,
    "setups": 10,
    "batches": 200,
    "samples": 20,
}


def _relay(options: argparse.Namespace) -> Result:
    return relay.run(
        relay.Sizes(options.mib, options.runs, options.round_trips, options.mixed_seconds)
    )


def _load(options: argparse.Namespace) -> Result:
    return load.run(
        LoadSizes(
            sessions=options.sessions,
            runs=options.runs,
            idle_seconds=options.idle_seconds,
            setups=options.setups,
            batches=options.batches,
            mib=min(options.mib, 256),
            settle=1.0 if options.quick else 5.0,
        )
    )


def _http(options: argparse.Namespace) -> Result:
    return http.run(http.Sizes(options.mib, options.runs, options.seconds))


def _peers(options: argparse.Namespace) -> Result:
    return tunnels.run(tunnels.Sizes(min(options.mib, 256), options.runs))


def _micro(options: argparse.Namespace) -> Result:
    return micro.run(micro.Sizes(min(options.mib, 256), options.runs), callgrind=options.callgrind)


def _credentials(options: argparse.Namespace) -> Result:
    return timing.run(options.samples)


BENCHMARKS: Final[dict[str, Callable[[argparse.Namespace], Result]]] = {
    "relay": _relay,
    "load": _load,
    "http": _http,
    "peers": _peers,
    "micro": _micro,
    "credentials": _credentials,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "name",
        choices=[*BENCHMARKS, "all", "summary", "plot"],
        nargs="?",
        default="all",
        help="relay: one session's bytes and round trips, 200 sessions with small messages; load:"
        " thousands of sessions; http: requests and bodies; peers: other tunnels; micro: the parts"
        " by themselves; credentials: what the time of a refusal tells; all: all of these (long);"
        " summary: saved results against the targets; plot: draw docs/images from saved results",
    )
    parser.add_argument("--quick", action="store_true", help="see that all runs; saves nothing")
    parser.add_argument("--no-save", action="store_true", help="do not write benchmarks/results")
    parser.add_argument("--write", action="store_true", help="summary: into docs/performance.md")
    parser.add_argument("--callgrind", action="store_true", help="micro: count instructions, too")
    for name, default, text in (
        ("runs", 5, "paired rounds"),
        ("mib", 1024, "MiB per bulk run (load, peers, micro: at most 256)"),
        ("round-trips", 1000, "lone round trips per round (relay)"),
        ("mixed-seconds", 10, "of small messages per round (relay)"),
        ("seconds", 8, "of small requests per round (http)"),
        ("sessions", 5000, "at most (load)"),
        ("idle-seconds", 60, "with nothing but pings (load)"),
        ("setups", 200, "sessions that are set up per round (load)"),
        ("batches", 5000, "of each size per round (load)"),
        ("samples", 2000, "refusals of each kind (credentials)"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=text)
    options = parser.parse_args()
    if options.quick:
        vars(options).update(_QUICK)
    console = Console(width=140)
    if options.name == "plot":
        return plots.draw(console)
    measured: dict[str, Result] = {}
    if options.name != "summary":
        measured = _measure(options, console)
    known = _known(measured, saved=not options.quick)
    targets.print_table(console, known)
    if options.name == "summary" and options.write:
        saved = {name: found for name in BENCHMARKS if (found := latest(name)) is not None}
        table = targets.as_markdown(saved)
        targets.PAGE.write_text(targets.write_into(targets.PAGE.read_text("utf-8"), table))
        console.print(f"written into {targets.PAGE}")
    if options.name == "all" and not options.quick and not options.no_save:
        plots.draw(console)
    if options.name == "summary":
        return 0
    # An end with 1 says that something could not be measured, not that a target was missed.
    return int(len(measured) < (len(BENCHMARKS) if options.name == "all" else 1))


def _measure(options: argparse.Namespace, console: Console) -> dict[str, Result]:
    """Run what was asked for; what cannot run here is said and left out."""
    measured = {}
    names = [*BENCHMARKS] if options.name == "all" else [options.name]
    for name in names:
        console.rule(name)
        try:
            measured[name] = BENCHMARKS[name](options)
        except Unavailable as reason:
            console.print(f"{name} skipped: {reason}")
            continue
        except SystemExit as failure:
            if len(names) == 1:
                raise
            console.print(f"{name} FAILED: {failure}")
            continue
        if not options.quick and not options.no_save:
            console.print(f"saved to {save(name, measured[name])}")
    return measured


def _known(measured: dict[str, Result], *, saved: bool) -> dict[str, Result]:
    """Return what was measured now, and the newest saved results of other benchmarks."""
    known = dict(measured)
    for name in BENCHMARKS if saved else ():
        found = latest(name)
        if found is not None:
            known.setdefault(name, found[1])
    return known


if __name__ == "__main__":
    sys.exit(main())
