"""A gateway as operators run it: ``remoting-gateway run -c FILE``, its log, and its worker's watch.

Owns: starting and stopping the program, and reading the lines it writes. Peers connect to it by
real sockets only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from tests.log_lines import parse_line
from tests.process_watch import ProcessWatch

ROOT: Final = Path(__file__).parent.parent

Line = dict[str, Any]


class GatewayLog:
    """The log file of a running gateway, as far as it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._lines: list[Line] = []

    @property
    def lines(self) -> list[Line]:
        """Every line so far, parsed."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the last line may still be being written
        self._read += len(whole)
        self._lines += map(_parse, whole.splitlines())
        return self._lines

    def find(self, *events: str, since: int = 0, **fields: object) -> list[Line]:
        """Return the lines of any of ``events`` that have all of ``fields``.

        ``since``: how many lines there were when it began; ports and the like are used again.
        """
        return [
            line
            for line in self.lines[since:]
            if line["event"] in events and all(line.get(k) == v for k, v in fields.items())
        ]

    async def wait_for(
        self,
        *events: str,
        count: int = 1,
        since: int = 0,
        within: float = 20.0,
        **fields: object,
    ) -> list[Line]:
        """Return the lines of any of ``events``, once there are ``count`` of them."""
        deadline = trio.current_time() + within
        while True:
            found = self.find(*events, since=since, **fields)
            if len(found) >= count:
                return found
            if trio.current_time() > deadline:
                break
            await trio.sleep(0.01)
        raise AssertionError(f"{len(found)} of {count} lines {events} {fields}: {self.tail()}")

    def mark(self) -> int:
        """Return how many lines there are."""
        return len(self.lines)

    def tail(self, count: int = 20) -> str:
        """Return the last lines, for a failure's message."""
        return "\n".join(map(str, self.lines[-count:]))

    def problems(self) -> list[Line]:
        """Return what no peer may bring about: tracebacks, crashes, connections that were cut."""
        bad = {"internal error", "worker crashed", "connections were cut"}
        return [line for line in self.lines if "exception" in line or line["event"] in bad]


def _parse(line: bytes) -> Line:
    try:
        parsed = parse_line(line)
    except ValueError:  # what a program says that does not even start
        return {"event": line.decode(errors="replace")}
    return parsed


class GatewayProcess:
    """A serving gateway. ``ports``: of its listeners, in the order of the configuration."""

    def __init__(self, process: trio.Process, log: GatewayLog, serving: Line) -> None:
        self.log = log
        self.ports = [int(address.rpartition(":")[2]) for address in serving["listeners"]]
        self.watch = ProcessWatch(serving["worker"])
        self._process = process

    def is_worker_alive(self) -> bool:
        """Say whether the worker that began to serve is still the one that does."""
        return len(self.log.find("worker is serving")) == 1 and _exists(self.watch.pid)

    async def stop(self) -> Line:
        """Send SIGTERM and wait for the end; return the line that says what was open then."""
        self._process.send_signal(signal.SIGTERM)
        with trio.fail_after(30):
            status = await self._process.wait()
        assert status == 0, self.log.tail()
        (line,) = self.log.find("worker is stopping")
        return line


@asynccontextmanager
async def running_program(
    folder: Path, config: Mapping[str, object]
) -> AsyncIterator[GatewayProcess]:
    """Run the program with ``config`` inside the block. Its state is kept below ``folder``."""
    path, log_path = folder / "gateway.yaml", folder / "gateway.log"
    settings = {
        "state_dir": str(folder / "state"),
        "shutdown": {"drain_spread": "0s"},  # nobody is to wait for it
        **config,
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    with log_path.open("wb") as log_file, (folder / "access.log").open("wb") as access_log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "gateway", "run", "-c", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=access_log,
            stderr=log_file,
            cwd=ROOT,
        )
    log = GatewayLog(log_path)
    try:
        serving, *_ = await log.wait_for("worker is serving", within=30)
        yield GatewayProcess(process, log, serving)
    finally:
        await _end(process, _worker_of(log))


async def _end(process: trio.Process, worker: int | None) -> None:
    """Leave nothing running, whatever state a failed test has left it in."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
        if process.returncode is None:
            process.kill()
        await process.wait()
        while worker is not None and _exists(worker):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            await trio.sleep(0.02)


def _worker_of(log: GatewayLog) -> int | None:
    lines = log.find("worker is serving")
    return int(lines[-1]["worker"]) if lines else None


def _exists(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
