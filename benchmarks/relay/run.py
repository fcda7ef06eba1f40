"""The price of one session, beside HAProxy and nginx in the same run.

Owns: the order of runs (each round measures every proxy once, so that a drift of the machine meets
all alike), and the table.

What is compared: the gateway decrypts, unmasks, translates WebSocket to JNLP4 and encrypts; as a
relay it decrypts, looks at frame headers and encrypts; HAProxy and nginx decrypt, copy and encrypt.
CPU is user + system of all processes of a proxy, per GiB of chunks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers.agent import ECHO_BODY
from benchmarks.peers.certificates import Certificates, make_certificates
from benchmarks.peers.proxies import (
    Proxy,
    start_gateway,
    start_gateway_relay,
    start_haproxy,
    start_nginx,
)
from benchmarks.report import machine_line, median, paired_ratio, percentile, save
from benchmarks.wire import CHUNK, CHUNKS_PER_BLOCK

_BLOCK = len(CHUNK) * CHUNKS_PER_BLOCK
_GIB = 1 << 30
_MIB = 1 << 20
_OWN = ("gateway", "gateway relay")

Samples = dict[str, dict[str, list[float]]]


def run(*, mib: int, runs: int, round_trips: int, save: bool) -> None:
    """Measure and print; ``save`` writes the result to ``benchmarks/results`` too."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        certificates = make_certificates(folder)
        ends = {kind: _start_end(kind, folder) for kind in ("controller", "origin")}
        proxies: list[Proxy] = []
        try:
            proxies = _start_proxies(
                folder, certificates, {k: port for k, (_, port) in ends.items()}
            )
            samples = _measure(proxies, certificates, mib, runs, round_trips)
        finally:
            for proxy in proxies:
                proxy.stop()
            for process, _ in ends.values():
                process.kill()
                process.wait()
    _report(proxies, samples, {"mib": mib, "runs": runs, "round_trips": round_trips}, keep=save)


def _start_end(kind: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.ends", kind, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _start_proxies(folder: Path, certificates: Certificates, ports: dict[str, int]) -> list[Proxy]:
    proxies = [
        start_gateway(folder, certificates, ports["controller"]),
        start_gateway_relay(folder, certificates, ports["origin"]),
        start_haproxy(folder, certificates, ports["origin"]),
        start_nginx(folder, certificates, ports["origin"]),
    ]
    # The far end alone: what a round trip costs without anything in between.
    direct = Proxy("direct", "", ports["origin"], "/bench/", None)
    return [direct, *[proxy for proxy in proxies if proxy is not None]]


def _measure(
    proxies: list[Proxy], certificates: Certificates, mib: int, runs: int, round_trips: int
) -> Samples:
    samples: Samples = defaultdict(lambda: defaultdict(list))
    blocks = max(1, mib * _MIB // _BLOCK)
    for number in range(runs):
        for proxy in proxies:
            print(f"run {number + 1} of {runs}: {proxy.name}", file=sys.stderr, flush=True)
            into = samples[proxy.name]
            for work in ("upload", "download"):
                before = proxy.cpu_seconds()
                result = _agent(proxy, certificates, work, blocks)
                cpu = proxy.cpu_seconds() - before
                into[f"{work} CPU s/GiB"].append(cpu * _GIB / (blocks * _BLOCK))
                into[f"{work} MiB/s"].append(blocks * _BLOCK / _MIB / result["seconds"])
                into[f"{work} busy"].append(cpu / result["seconds"])
                into[f"{work} agent busy"].append(result["agent_cpu"] / result["seconds"])
                into[f"{work} far end busy"].append(result["far_end_cpu"] / result["seconds"])
            echo = _agent(proxy, certificates, "echo", round_trips)["round_trips"]
            into["round trip p50 us"].append(percentile(echo, 50) * 1e6)
            into["round trip p99 us"].append(percentile(echo, 99) * 1e6)
    return samples


def _agent(proxy: Proxy, certificates: Certificates, work: str, amount: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peers.agent", str(proxy.port), proxy.target]
    done = subprocess.run(
        [*command, str(certificates.authority), work, str(amount)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise SystemExit(f"{proxy.name} {work}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _report(
    proxies: list[Proxy], samples: Samples, settings: dict[str, int], *, keep: bool
) -> None:
    medians = {
        name: {what: median(values) for what, values in into.items()}
        for name, into in samples.items()
    }
    for into in medians.values():
        for what in ("p50", "p99"):
            direct = medians["direct"][f"round trip {what} us"]
            into[f"added to {what} us"] = into[f"round trip {what} us"] - direct
    ratios = {
        f"{work} CPU, {own} / {peer}": paired_ratio(
            samples[own][f"{work} CPU s/GiB"], samples[peer][f"{work} CPU s/GiB"]
        )
        for own in _OWN
        for work in ("upload", "download")
        for peer in medians
        if peer not in (*_OWN, "direct")
    }
    console = Console(width=120)
    table = Table(title=f"one session, TLS in and out, 8 KiB chunks, {settings['mib']} MiB a run")
    table.add_column("median")
    for name in medians:
        table.add_column(name, justify="right")
    for what in next(iter(medians.values())):
        table.add_row(what, *[f"{medians[name][what]:.2f}" for name in medians])
    console.print(machine_line())
    console.print(table)
    console.print("ratios of the same rounds, median (least to most):")
    for what, ratio in ratios.items():
        console.print(f"{what}: {ratio}")
    console.print(f"round trips carry {ECHO_BODY} bytes; 'direct' is the same without a proxy")
    if keep:
        result = {
            "machine": machine_line(),
            "settings": settings,
            "versions": {proxy.name: proxy.version for proxy in proxies if proxy.version},
            "medians": medians,
            "ratios": {what: asdict(ratio) for what, ratio in ratios.items()},
            "samples": samples,
        }
        console.print(f"saved to {save('relay', result)}")
