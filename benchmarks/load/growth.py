"""Whether work costs the same however many sessions there are, and with two workers.

Owns: one proxy for each number of sessions, all running at the same time, so that rounds are paired
and a drift of the machine meets all of them; those that are not measured are idle. HAProxy takes
part to show what is the machine's: caches are shared by all sessions of any proxy.

Bytes per wake-up are equal: a batch leaves its agent in one ``send``, and the next follows when the
far end has answered with a few bytes, at the next session. What idle sessions cost by themselves
(the gateway's pings) is measured first, and taken off what is measured beside them.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.load.clock import Clock
from benchmarks.load.setting import Setting
from benchmarks.load.setups import set_up
from benchmarks.peers.agents import BLOCK, blocks_of, run_agent
from benchmarks.peers.crowds import Crowds
from benchmarks.peers.proxies import Proxy
from benchmarks.report import Samples
from benchmarks.wire import batch_frames

BATCH: Final = 64 * 1024
SMALL: Final = 2 * 1024
SETUP: Final = "set-up CPU ms"
SPREAD: Final = "64 KiB batches, CPU s/GiB"
MESSAGES: Final = "2 KiB messages, CPU us each"
BESIDE: Final = "bulk of one, others idle, CPU s/GiB"
IDLE: Final = "idle, % of a core"
_WINDOWS: Final = 3
_GIB: Final = 1 << 30
_PAIR: Final = 100  # sessions where workers are compared


@dataclass(frozen=True, slots=True)
class _Point:
    """A proxy with so many sessions."""

    name: str
    proxy: Proxy
    sessions: int
    crowds: Crowds

    @property
    def key(self) -> str:
        return f"{self.name}, {self.sessions}"


def measure(setting: Setting, samples: Samples) -> None:
    """Measure all points: names in ``samples`` are ``PROXY, SESSIONS``."""
    with ExitStack() as stack:
        points = _start(setting, stack)
        _idle(setting, points, samples)
        for number in range(setting.sizes.runs):
            for point in points:
                print(f"growth {number + 1} of {setting.sizes.runs}: {point.key}", file=sys.stderr)
                _one_round(setting, point, samples[point.key], number)


def _start(setting: Setting, stack: ExitStack) -> list[_Point]:
    points = []
    for sessions in setting.sizes.growth:
        for name in ("gateway", "haproxy"):
            print(f"growth: {name} gets {sessions}", file=sys.stderr, flush=True)
            proxy = stack.enter_context(setting.proxy(name))
            if proxy is None:
                continue
            crowds = stack.enter_context(setting.crowds(proxy, sessions))
            points.append(_Point(name, proxy, sessions, crowds))
    return points


def _idle(setting: Setting, points: list[_Point], samples: Samples) -> None:
    seconds = setting.sizes.idle_seconds / _WINDOWS
    print(f"growth: idle for {setting.sizes.idle_seconds} s", file=sys.stderr, flush=True)
    for _ in range(_WINDOWS):
        began = time.monotonic()
        before = [point.proxy.cpu_seconds() for point in points]
        time.sleep(seconds)
        taken = time.monotonic() - began
        for point, cpu in zip(points, before, strict=True):
            share = (point.proxy.cpu_seconds() - cpu) * 100 / taken
            samples[point.key][IDLE].append(share)


def _one_round(setting: Setting, point: _Point, into: dict[str, list[float]], number: int) -> None:
    sizes = setting.sizes
    idle = median(into[IDLE]) / 100
    first = sizes.sessions + (number + 1) * sizes.setups
    into[SETUP].append(set_up(setting, point.proxy, first=first, idle=idle))
    into[SPREAD].append(_batches(point, BATCH, sizes.batches, idle))
    _, payload = batch_frames(SMALL)
    of_gib = _batches(point, SMALL, sizes.batches, idle)
    into[MESSAGES].append(of_gib * payload * 1e6 / _GIB)
    clock = Clock(point.proxy, idle)
    blocks = blocks_of(sizes.mib)
    run_agent(point.proxy, setting.certificates, "upload", blocks)
    into[BESIDE].append(clock.cpu_seconds() * _GIB / (blocks * BLOCK))


def _batches(point: _Point, size: int, batches: int, idle: float) -> float:
    """Return the CPU seconds of a GiB in batches that go round all sessions; ``idle``: those of a
    second without them.
    """
    order = {"size": size, "batches": max(batches, point.sessions)}
    point.crowds.ask(do="prepare", **order)
    clock = Clock(point.proxy, idle)
    sent = sum(int(answer["bytes"]) for answer in point.crowds.ask(do="batches", **order))
    return clock.cpu_seconds() * _GIB / sent


def measure_workers(setting: Setting, samples: Samples) -> None:
    """Compare one worker with two: two processes of agents each, so that both have work."""
    sessions = min(_PAIR, setting.sizes.sessions)
    with ExitStack() as stack:
        points = []
        for workers in (1, 2):
            proxy = stack.enter_context(setting.gateway(workers=workers))
            crowds = stack.enter_context(setting.crowds(proxy, sessions, processes=2))
            name = "1 worker" if workers == 1 else f"{workers} workers"
            points.append(_Point(name, proxy, sessions, crowds))
        for number in range(setting.sizes.runs):
            for point in points:
                print(f"workers {number + 1}: {point.name}", file=sys.stderr, flush=True)
                samples[point.name][SPREAD].append(
                    _batches(point, BATCH, setting.sizes.batches, 0.0)
                )
