"""``./dev fuzz``: one target after the other for some seconds each, until the first finding.

Guided by coverage where atheris can be imported, which is not in the lock file (it has wheels for
Linux on x86-64 alone): ``.venv/bin/python -m pip install atheris``. By hypothesis otherwise, which
mutates the corpus without seeing where that leads, but shrinks what it finds.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, settings

from tests.fuzz.inputs import bent
from tests.fuzz.targets import TARGETS, Target, corpus, keep

# Inputs that opened new branches, kept from run to run. Nothing depends on them.
_EXPLORED: Final = Path(__file__).parents[2] / ".fuzz"
_BATCH: Final = 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = ["all", *TARGETS]
    parser.add_argument(
        "target", nargs="?", choices=names, default="all", metavar="TARGET", help=", ".join(names)
    )
    parser.add_argument(
        "seconds",
        nargs="?",
        type=int,
        default=60,
        metavar="SECONDS",
        help="for each target (default: 60)",
    )
    options = parser.parse_args()
    fuzz = _fuzz_guided if importlib.util.find_spec("atheris") else _fuzz_blindly
    for name in TARGETS if options.target == "all" else [options.target]:
        found = fuzz(name, options.seconds)
        if found is not None:
            path = keep(name, found)
            print(f"fuzz: a finding, kept as {path}: fix it, give it a name, commit both")
            return 1
    return 0


def _fuzz_guided(name: str, seconds: int) -> bytes | None:
    folder = _EXPLORED / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed, data in corpus(name).items():
        (folder / seed).write_bytes(data)
    finding = folder.with_suffix(".finding")
    finding.unlink(missing_ok=True)
    print(f"fuzz: {name}, guided by atheris, {seconds} s", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", name]
    libfuzzer = [f"-max_total_time={seconds}", f"-exact_artifact_path={finding}", "-timeout=10"]
    result = subprocess.run([*command, *libfuzzer, str(folder)], check=False)
    if result.returncode == 0:
        return None
    if not finding.exists():
        raise SystemExit(f"fuzz: atheris failed with status {result.returncode}")
    return finding.read_bytes()


class _Finding(Exception):
    """Carries the input out of hypothesis, which raises the smallest one it has found."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        super().__init__(repr(data))


def _fuzz_blindly(name: str, seconds: int) -> bytes | None:
    print(f"fuzz: {name}, by hypothesis (no atheris here), {seconds} s", flush=True)
    target = TARGETS[name]
    end = time.monotonic() + seconds
    seeds = list(corpus(name).values())
    inputs = 0

    def count_and_try(data: bytes) -> None:
        nonlocal inputs
        inputs += 1
        target(data)

    found = None
    while found is None and time.monotonic() < end:
        found = _try_batch(count_and_try, seeds)
    print(f"fuzz: {inputs} inputs")
    return found


def _try_batch(target: Target, seeds: list[bytes]) -> bytes | None:
    @settings(
        max_examples=_BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=bent(seeds))
    def batch(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:
            raise _Finding(data) from error

    try:
        batch()
    except _Finding as finding:
        print(f"fuzz: {finding.__cause__!r} for {finding.data!r}")
        return finding.data
    return None


if __name__ == "__main__":
    sys.exit(main())
