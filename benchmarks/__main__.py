"""``python -m benchmarks NAME``: run one benchmark."""

from __future__ import annotations

import argparse
import sys

from benchmarks.http.run import run as run_http
from benchmarks.relay.run import run as run_relay
from benchmarks.timing.run import run as run_timing


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "name", choices=["relay", "http", "credentials"], nargs="?", default="relay"
    )
    parser.add_argument("--mib", type=int, default=1024, help="MiB per bulk run")
    parser.add_argument("--runs", type=int, default=5, help="paired runs")
    parser.add_argument("--round-trips", type=int, default=1000, help="lone round trips per run")
    parser.add_argument("--no-save", action="store_true", help="do not write benchmarks/results")
    parser.add_argument("--seconds", type=int, default=8, help="of small requests per run (http)")
    parser.add_argument("--samples", type=int, default=2000, help="of each kind (credentials)")
    options = parser.parse_args()
    if options.name == "credentials":
        run_timing(samples=options.samples, keep=not options.no_save)
        return 0
    if options.name == "http":
        run_http(
            mib=options.mib, runs=options.runs, seconds=options.seconds, keep=not options.no_save
        )
        return 0
    run_relay(
        mib=options.mib,
        runs=options.runs,
        round_trips=options.round_trips,
        save=not options.no_save,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
