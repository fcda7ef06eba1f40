"""A whole gateway with a controller and agents, for code that blocks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.gateway_process import ROOT, GatewayLog

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Whole:
    """``page``: the address of its status page. ``path``: of its configuration."""

    page: str
    path: Path
    log: GatewayLog
    process: subprocess.Popen[bytes]


@contextmanager
def running(
    folder: Path, nodes: Sequence[str], *, admin: Mapping[str, object] | None = None
) -> Iterator[Whole]:
    """Run gateway, controller and agents inside the block."""
    peers = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.peers", *nodes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert peers.stdin is not None
    assert peers.stdout is not None
    with suppress(OSError), peers.stdin, peers.stdout:
        try:
            controller = json.loads(peers.stdout.readline())["controller"]
            with _gateway(folder, controller, admin or {}) as (port, whole):
                peers.stdin.write(json.dumps({"gateway": f"http://{HOST}:{port}/"}).encode())
                peers.stdin.flush()
                yield whole
        finally:
            peers.kill()
            peers.wait()


@contextmanager
def _gateway(
    folder: Path, controller: str, admin: Mapping[str, object]
) -> Iterator[tuple[int, Whole]]:
    config = {
        "state_dir": str(folder / "state"),
        "workers": 2,
        "listeners": [{"address": f"{HOST}:0", "plain_agents": True}],
        "controllers": {"main": {"url": controller, "agents": {"identity": "discover"}}},
        "routes": [{"id": "main", "controller": "main"}],
        "shutdown": {"drain_spread": "0s"},
        "log": {"access": {"to": "off"}},
        "admin": {"listen": f"{HOST}:0", **admin},
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with (folder / "gateway.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "-c", str(path)],
            stdin=subprocess.DEVNULL,
            stderr=output,
            cwd=ROOT,
        )
    log = GatewayLog(folder / "gateway.log")
    try:
        deadline = time.monotonic() + 30
        while len(log.find("worker is serving")) < 2 or not log.find("admin is serving"):
            assert process.poll() is None, log.tail()
            assert time.monotonic() < deadline, log.tail()
            time.sleep(0.02)
        (serving,) = log.find("admin is serving")
        address = log.find("worker is serving")[0]["listeners"][0]
        scheme = "https" if "tls" in admin else "http"
        page = f"{scheme}://{serving['listeners'][0]}/"
        yield int(address.rpartition(":")[2]), Whole(page, path, log, process)
        process.terminate()
        assert process.wait(20) == 0, log.tail()
        assert log.problems() == []
    finally:
        if process.poll() is None:
            process.kill()  # its workers notice and end, too
            process.wait()
