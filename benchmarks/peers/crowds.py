"""The parent's side of crowds of agents and of far ends.

Owns: starting and stopping their processes, and spreading an order over several crowds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.peers.certificates import Certificates
from benchmarks.peers.proxies import Proxy


class End:
    """A far end of ``kind`` (see ``ends``) in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.ends", kind, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        with self._process:
            self._process.kill()


class Crowds:
    """Agents in front of ``proxy``, in ``processes`` processes.

    Agents are numbered from ``first``; each process has at most ``most`` of them.
    """

    def __init__(
        self,
        proxy: Proxy,
        certificates: Certificates,
        *,
        processes: int = 1,
        first: int = 0,
        most: int = 0,
    ) -> None:
        self.sessions = 0
        command = [sys.executable, "-m", "benchmarks.peers.crowd", str(proxy.port), proxy.target]
        self._processes = [
            subprocess.Popen(
                [*command, str(certificates.authority), str(first + index * most)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(processes)
        ]

    def open(self, sessions: int, *, together: int) -> float:
        """Have ``sessions`` open in all, ``together`` at a time; return the seconds it took."""
        missing = sessions - self.sessions
        self.sessions = sessions
        share = len(self._processes)
        orders = [
            {
                "do": "open",
                "count": missing // share + (index < missing % share),
                "together": max(1, together // share),
            }
            for index in range(share)
        ]
        return self._all(orders)

    def ask(self, **order: Any) -> list[dict[str, Any]]:
        """Give every crowd the same order; return what each answered."""
        self._write([order] * len(self._processes))
        return self._answers()

    def _all(self, orders: list[dict[str, Any]]) -> float:
        self._write(orders)
        return max(float(answer["seconds"]) for answer in self._answers())

    def _write(self, orders: list[dict[str, Any]]) -> None:
        for process, order in zip(self._processes, orders, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()

    def _answers(self) -> list[dict[str, Any]]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit("an agents' process ended; what it said is above")
            answers.append(json.loads(line))
        return answers

    def stop(self) -> None:
        for process in self._processes:
            with suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in self._processes:
            with process:
                process.wait(60)
