"""The price of a proxied request and of a GiB, beside the other proxies in the same run.

Owns: the order of runs (each round measures every proxy once, so that a drift of the machine meets
all alike), and the table.

What is compared: TLS in, plain HTTP to an nginx origin out, connections kept on both sides, one
worker each, and no access log anywhere. CPU is user + system of all processes of a proxy. Small
requests come from wrk, large bodies from and to curl. mitmproxy takes part in small requests only:
it is no peer for large ones.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.peers.certificates import make_certificates
from benchmarks.peers.http_proxies import start_all
from benchmarks.peers.origins import start_origins
from benchmarks.peers.proxies import Proxy
from benchmarks.report import (
    Figure,
    Samples,
    Unavailable,
    against,
    figure,
    machine_line,
    median,
    paired_ratio,
    print_medians,
    result,
)

CONNECTIONS: Final = 32
_SMALL: Final = "CPU ms/request"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each round: MiB of a large body (0: none), seconds of small requests."""

    mib: int
    runs: int
    seconds: int


def run(sizes: Sizes) -> dict[str, Any]:
    """Measure, print, and return the result."""
    for program in ("wrk", "curl"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is needed: apt-get install {program}")
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        certificates = make_certificates(folder)
        origins = start_origins(folder, mib=sizes.mib)
        proxies: list[Proxy] = []
        try:
            proxies = start_all(folder, certificates, answers=origins.answers, sink=origins.sink)
            samples = _measure(proxies, folder, sizes)
        finally:
            for proxy in proxies:
                proxy.stop()
            origins.stop()
    return _report(proxies, samples, sizes)


def _measure(proxies: list[Proxy], folder: Path, sizes: Sizes) -> Samples:
    mib = sizes.mib
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for proxy in proxies:
        _small(proxy, 1)  # what a proxy still does after its start is not measured
    for number in range(sizes.runs):
        for proxy in proxies:
            print(f"run {number + 1} of {sizes.runs}: {proxy.name}", file=sys.stderr, flush=True)
            into = samples[proxy.name]
            before = proxy.cpu_seconds()
            requests, rate = _small(proxy, sizes.seconds)
            into[_SMALL].append((proxy.cpu_seconds() - before) * 1000 / requests)
            into["requests/s"].append(rate)
            if mib and proxy.name != "mitmproxy":
                for work in ("download", "upload"):
                    before, began = proxy.cpu_seconds(), time.monotonic()
                    _large(proxy, work, folder)
                    taken = time.monotonic() - began
                    cpu = proxy.cpu_seconds() - before
                    into[f"{work} CPU s/GiB"].append(cpu * 1024 / mib)
                    into[f"{work} MiB/s"].append(mib / taken)
    return samples


def _small(proxy: Proxy, seconds: int) -> tuple[int, float]:
    """Return how many requests wrk made, and how many a second; any failure ends the benchmark."""
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s"]
    url = f"https://127.0.0.1:{proxy.port}/small"
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    count = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    failed = re.search(r"Non-2xx.*|Socket errors.*", done.stdout)
    if failed or count is None or rate is None or not int(count[1]):
        raise SystemExit(f"{proxy.name}: {done.stdout}{done.stderr}")
    return int(count[1]), float(rate[1])


def _large(proxy: Proxy, work: str, folder: Path) -> None:
    url = f"https://127.0.0.1:{proxy.port}/"
    command = ["curl", "-ksSf", "--http1.1", "-o", "/dev/null", "-H", "Expect:"]
    if work == "download":
        command.append(f"{url}big")
    else:
        command += ["-X", "POST", "-T", str(folder / "big"), f"{url}upload"]
    subprocess.run(command, check=True, timeout=600)


def figures_of(samples: Samples) -> dict[str, Figure | None]:
    """Return what the targets are held against."""
    small = figure(samples["gateway"][_SMALL])
    others = [
        f"{name} {median(into[_SMALL]):.3g}"
        for name, into in samples.items()
        if not name.startswith("gateway")
    ]
    figures: dict[str, Figure | None] = {
        "small ms": Figure(small.value, small.least, small.most, ", ".join(others))
    }
    for work in ("download", "upload"):
        what = f"{work} CPU s/GiB"
        if what in samples["gateway"]:
            for peer in ("haproxy", "nginx"):
                figures[f"{work} / {peer}"] = against(samples, "gateway", peer, what, "s/GiB")
    return figures


def _report(proxies: list[Proxy], samples: Samples, sizes: Sizes) -> dict[str, Any]:
    console = Console(width=140)
    console.print(machine_line())
    title = f"HTTP, TLS in, {CONNECTIONS} connections, small answers; bodies of {sizes.mib} MiB"
    print_medians(console, title, samples)
    ratios = {
        f"{what}, {own} / {peer}": paired_ratio(samples[own][what], samples[peer][what])
        for own in samples
        if own.startswith("gateway")
        for peer in samples
        if not peer.startswith("gateway")
        for what in samples[peer]
        if "MiB/s" not in what
    }
    console.print("ratios of the same rounds, median (least to most):")
    for what, ratio in ratios.items():
        console.print(f"{what}: {ratio}")
    return result(
        settings={name: getattr(sizes, name) for name in sizes.__slots__},
        versions={proxy.name: proxy.version for proxy in proxies},
        samples=samples,
        figures=figures_of(samples),
        ratios={what: asdict(ratio) for what, ratio in ratios.items()},
    )
