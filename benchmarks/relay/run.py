"""The price of sessions, beside HAProxy and nginx in the same run.

Owns: the order of runs (each round measures every proxy once, so that a drift of the machine meets
all alike), and the table.

What is compared: the gateway decrypts, unmasks, translates WebSocket to JNLP4 and encrypts; as a
relay it decrypts, looks at frame headers and encrypts; HAProxy and nginx decrypt, copy and encrypt;
so does the floor, which is what that costs in Python without anything else. CPU is user + system of
all processes of a proxy, per GiB of chunks.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.peers.agent import ECHO_BODY
from benchmarks.peers.agents import BLOCK, blocks_of, run_agent, warm_up
from benchmarks.peers.certificates import Certificates, make_certificates
from benchmarks.peers.crowds import End
from benchmarks.peers.proxies import (
    Proxy,
    start_floor,
    start_gateway,
    start_gateway_relay,
    start_haproxy,
    start_nginx,
)
from benchmarks.relay import mixed
from benchmarks.report import (
    Figure,
    Samples,
    against,
    machine_line,
    medians_of,
    paired_ratio,
    percentile,
    print_medians,
    result,
)

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_OWN: Final = ("gateway", "gateway relay")
_P50: Final = "round trip p50 us"
_P99: Final = "round trip p99 us"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each round."""

    mib: int
    runs: int
    round_trips: int
    mixed_seconds: int


def run(sizes: Sizes) -> dict[str, Any]:
    """Measure, print, and return the result."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        certificates = make_certificates(folder)
        proxies = _start(folder, certificates, stack)
        samples = _measure(proxies, certificates, sizes)
    return _report(proxies, samples, sizes)


def _start(folder: Path, certificates: Certificates, stack: ExitStack) -> list[Proxy]:
    controller, origin = End("controller", folder), End("origin", folder)
    stack.callback(controller.stop)
    stack.callback(origin.stop)
    # The far end alone: what a round trip costs without anything in between.
    proxies = [Proxy("direct", "", origin.port, "/bench/", None)]
    for start, end in (
        (start_gateway, controller),
        (start_gateway_relay, origin),
        (start_haproxy, origin),
        (start_nginx, origin),
        (start_floor, origin),
    ):
        proxy = start(folder, certificates, end.port)
        if proxy is not None:
            proxies.append(proxy)
            stack.callback(proxy.stop)
    return proxies


def _measure(proxies: list[Proxy], certificates: Certificates, sizes: Sizes) -> Samples:
    samples: Samples = defaultdict(lambda: defaultdict(list))
    warm_up(proxies, certificates)
    for number in range(sizes.runs):
        for proxy in proxies:
            print(f"run {number + 1} of {sizes.runs}: {proxy.name}", file=sys.stderr, flush=True)
            into = samples[proxy.name]
            for work in ("upload", "download"):
                _bulk(proxy, certificates, work, sizes, into)
            echo = run_agent(proxy, certificates, "echo", sizes.round_trips)["round_trips"]
            into[_P50].append(percentile(echo, 50) * 1e6)
            into[_P99].append(percentile(echo, 99) * 1e6)
            # The origin counts bytes, and a relay's pings among small messages would upset it.
            if proxy.process is not None and proxy.name != "gateway relay":
                mixed.measure(proxy, certificates, into, seconds=sizes.mixed_seconds)
        for name in samples:
            for what, added in ((_P50, "added to p50 us"), (_P99, "added to p99 us")):
                direct = samples["direct"][what][-1]
                samples[name][added].append(samples[name][what][-1] - direct)
    return samples


def _bulk(
    proxy: Proxy, certificates: Certificates, work: str, sizes: Sizes, into: dict[str, list[float]]
) -> None:
    blocks = blocks_of(sizes.mib)
    before = proxy.cpu_seconds()
    done = run_agent(proxy, certificates, work, blocks)
    cpu = proxy.cpu_seconds() - before
    into[f"{work} CPU s/GiB"].append(cpu * _GIB / (blocks * BLOCK))
    into[f"{work} MiB/s"].append(blocks * BLOCK / _MIB / done["seconds"])
    into[f"{work} busy"].append(cpu / done["seconds"])
    into[f"{work} agent busy"].append(done["agent_cpu"] / done["seconds"])
    into[f"{work} far end busy"].append(done["far_end_cpu"] / done["seconds"])


def figures_of(samples: Samples) -> dict[str, Figure | None]:
    """Return what the targets are held against."""
    up, down, gib = "upload CPU s/GiB", "download CPU s/GiB", "s/GiB"
    return {
        "up / haproxy": against(samples, "gateway", "haproxy", up, gib),
        "down / haproxy": against(samples, "gateway", "haproxy", down, gib),
        "relayed up / haproxy": against(samples, "gateway relay", "haproxy", up, gib),
        "relayed down / haproxy": against(samples, "gateway relay", "haproxy", down, gib),
        "p50 / nginx": against(samples, "gateway", "nginx", _P50, "us"),
        "p99 / nginx": against(samples, "gateway", "nginx", _P99, "us"),
        "mixed / haproxy": against(samples, "gateway", "haproxy", mixed.MIXED, "us/message"),
        "floor up / haproxy": against(samples, "floor", "haproxy", up, gib),
        "floor down / haproxy": against(samples, "floor", "haproxy", down, gib),
        "up / floor": against(samples, "gateway", "floor", up, gib),
        "down / floor": against(samples, "gateway", "floor", down, gib),
    }


def _report(proxies: list[Proxy], samples: Samples, sizes: Sizes) -> dict[str, Any]:
    console = Console(width=140)
    console.print(machine_line())
    print_medians(console, f"one session, TLS in and out, 8 KiB chunks, {sizes.mib} MiB", samples)
    names = [name for name in medians_of(samples) if name != "direct"]
    console.print("CPU against others in the same rounds, median (least to most):")
    for own in _OWN:
        for peer in names:
            if peer in _OWN:
                continue
            for what in ("upload CPU s/GiB", "download CPU s/GiB", mixed.MIXED):
                if what not in samples[own]:
                    continue
                ratio = paired_ratio(samples[own][what], samples[peer][what])
                console.print(f"{what}, {own} / {peer}: {ratio}")
    console.print(f"round trips carry {ECHO_BODY} bytes; 'direct' is the same without a proxy")
    return result(
        settings={name: getattr(sizes, name) for name in sizes.__slots__},
        versions={proxy.name: proxy.version for proxy in proxies if proxy.version},
        samples=samples,
        figures=figures_of(samples),
    )
