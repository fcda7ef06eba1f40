"""What each part of the hot path costs by itself: CPU per GiB and per frame, and instructions.

Owns: repeating the pieces of ``work`` in paired rounds. Instructions are counted by callgrind for a
fixed number of turns, less those of fewer turns, so that start-up and handshakes cancel out; they
hardly depend on what else the machine does. Valgrind's processor knows no AVX-512, so that AES
takes more of them there than outside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.micro.work import Work, works
from benchmarks.peers.certificates import make_certificates
from benchmarks.report import (
    Samples,
    Unavailable,
    machine_line,
    median,
    print_medians,
    result,
)

_GIB: Final = 1 << 30
_NS: Final = "ns/frame"
_SECONDS: Final = "CPU s/GiB"
_INSTRUCTIONS: Final = "instructions/frame"
_MOST_TURNS: Final = 50_000
_FEW, _MANY = 20, 220


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much payload goes through each part in each round."""

    mib: int
    runs: int


def run(sizes: Sizes, *, callgrind: bool) -> dict[str, Any]:
    """Measure, print, and return the result."""
    if callgrind and shutil.which("valgrind") is None:
        raise Unavailable("valgrind is needed to count instructions: apt-get install valgrind")
    samples: Samples = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        make_certificates(folder)
        pieces = list(works(folder))
        for number in range(sizes.runs):
            print(f"run {number + 1} of {sizes.runs}", file=sys.stderr, flush=True)
            for work in pieces:
                turns = min(_MOST_TURNS, max(1, (sizes.mib << 20) // work.size))
                seconds = _seconds(work, turns)
                samples[work.name][_SECONDS].append(seconds * _GIB / (work.size * turns))
                samples[work.name][_NS].append(seconds * 1e9 / (work.frames * turns))
        if callgrind:
            _count(pieces, folder, samples)
    console = Console(width=140)
    console.print(machine_line())
    parts: Samples = {
        what: {name: [median(into[what])] for name, into in samples.items() if what in into}
        for what in (_SECONDS, _NS, _INSTRUCTIONS)
    }
    print_medians(
        console, "parts of the hot path", {what: into for what, into in parts.items() if into}
    )
    return result(
        settings={name: getattr(sizes, name) for name in sizes.__slots__},
        versions={"valgrind": _version()} if callgrind else {},
        samples=samples,
        figures={},
    )


def _seconds(work: Work, turns: int) -> float:
    """Return the CPU seconds of so many turns, what prepares them left out."""
    taken = 0
    do = work.do
    for start in range(0, turns, work.ahead):
        prepared = [work.prepare() for _ in range(min(work.ahead, turns - start))]
        before = time.process_time_ns()
        for each in prepared:
            do(each)
        taken += time.process_time_ns() - before
    return taken / 1e9


def _count(pieces: list[Work], folder: Path, samples: Samples) -> None:
    counted: dict[str, float] = {}
    for work in pieces:
        print(f"callgrind: {work.name}", file=sys.stderr, flush=True)
        few, many = (_instructions(work.name, turns, folder) for turns in (_FEW, _MANY))
        a_turn = (many - few) / (_MANY - _FEW)
        counted[work.name] = a_turn - counted.get(work.after, 0.0)
        samples[work.name][_INSTRUCTIONS].append(counted[work.name] / work.frames)


def _instructions(name: str, turns: int, folder: Path) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    done = subprocess.run(
        [*command, "-m", "benchmarks.micro.work", name, str(turns), str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise Unavailable(f"callgrind failed: {done.stderr[-500:]}")
    return int(found[1])


def _version() -> str:
    return subprocess.run(
        ["valgrind", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
