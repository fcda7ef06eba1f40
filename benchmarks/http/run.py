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
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.peers.certificates import make_certificates
from benchmarks.peers.http_proxies import start_all
from benchmarks.peers.origins import start_origins
from benchmarks.peers.proxies import Proxy
from benchmarks.report import machine_line, median, paired_ratio, save

CONNECTIONS: Final = 32

Samples = dict[str, dict[str, list[float]]]


def run(*, mib: int, runs: int, seconds: int, keep: bool) -> None:
    """Measure and print; ``keep`` writes the result to ``benchmarks/results`` too."""
    for program in ("wrk", "curl"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed: apt-get install {program}")
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        certificates = make_certificates(folder)
        origins = start_origins(folder, mib=mib)
        proxies: list[Proxy] = []
        try:
            proxies = start_all(folder, certificates, answers=origins.answers, sink=origins.sink)
            samples = _measure(proxies, folder, mib, runs, seconds)
        finally:
            for proxy in proxies:
                proxy.stop()
            origins.stop()
    _report(proxies, samples, {"mib": mib, "runs": runs, "seconds": seconds}, keep=keep)


def _measure(proxies: list[Proxy], folder: Path, mib: int, runs: int, seconds: int) -> Samples:
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for number in range(runs):
        for proxy in proxies:
            print(f"run {number + 1} of {runs}: {proxy.name}", file=sys.stderr, flush=True)
            into = samples[proxy.name]
            before = proxy.cpu_seconds()
            requests, rate = _small(proxy, seconds)
            into["CPU ms/request"].append((proxy.cpu_seconds() - before) * 1000 / requests)
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


def _report(
    proxies: list[Proxy], samples: Samples, settings: dict[str, int], *, keep: bool
) -> None:
    medians = {
        name: {what: median(values) for what, values in into.items()}
        for name, into in samples.items()
    }
    console = Console(width=120)
    table = Table(
        title=f"HTTP, TLS in, {CONNECTIONS} connections, small answers; bodies of"
        f" {settings['mib']} MiB"
    )
    table.add_column("median")
    for name in medians:
        table.add_column(name, justify="right")
    for what in medians["gateway"]:
        values = [into.get(what) for into in medians.values()]
        table.add_row(what, *["-" if value is None else f"{value:.3g}" for value in values])
    console.print(machine_line())
    console.print(table)
    ratios = {
        f"{what}, {own} / {peer}": paired_ratio(samples[own][what], samples[peer][what])
        for own in medians
        if own.startswith("gateway")
        for peer in medians
        if not peer.startswith("gateway")
        for what in medians[peer]
        if "MiB/s" not in what
    }
    console.print("ratios of the same rounds, median (least to most):")
    for what, ratio in ratios.items():
        console.print(f"{what}: {ratio}")
    if keep:
        result = {
            "machine": machine_line(),
            "settings": settings,
            "versions": {proxy.name: proxy.version for proxy in proxies},
            "medians": medians,
            "ratios": {what: asdict(ratio) for what, ratio in ratios.items()},
            "samples": samples,
        }
        console.print(f"saved to {save('http', result)}")
