"""The gateway in front of the origins: one process for all tests, as its users run it.

Owns: its configuration, starting and stopping it from tests that are not async.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import certificates
from tests.e2e.programs import HOST, free_ports
from tests.gateway_process import ROOT, GatewayLog

# Where proxies in front connect from, so that their word counts and that of other clients does not.
PROXY_ADDRESS: Final = "127.0.0.9"
ORIGINS: Final = ("nginx", "apache")


@dataclass(frozen=True)
class Site:
    """A running gateway. ``proxied``: its TLS listener that wants PROXY protocol headers.

    ``origins``: by name, the two ports that the gateway takes for ``NAME.test`` and
    ``NAME-short.test``. ``certificate``: for all those names, and ``ca`` who vouches for it.
    """

    plain: int
    tls: int
    proxied: int
    origins: Mapping[str, tuple[int, int]]
    certificate: Path
    key: Path
    ca: Path
    log: GatewayLog


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Run the gateway inside the block; origins may be started, or not, at any time."""
    ports = free_ports(2 * len(ORIGINS))
    origins = {name: (ports.pop(), ports.pop()) for name in ORIGINS}
    hosts = {
        host: port
        for name, (long, short) in origins.items()
        for host, port in ((f"{name}.test", long), (f"{name}-short.test", short))
    }
    pair = certificates.write(folder, *hosts, HOST)
    ca = folder / "ca.pem"
    certificates.authority().cert_pem.write_to_path(str(ca))
    tls = {"certificates": [{"certificate": str(pair.certificate), "key": str(pair.key)}]}
    address = f"{HOST}:0"
    config: dict[str, Any] = {
        "state_dir": str(folder / "state"),
        "listeners": [
            {"address": address},
            {"address": address, "tls": tls},
            {"address": address, "tls": tls, "proxy_protocol": "required"},
        ],
        "trusted_proxies": [PROXY_ADDRESS],
        "controllers": {
            host.partition(".")[0]: {"url": f"http://{HOST}:{port}/"}
            for host, port in hosts.items()
        },
        "routes": [
            {"id": name, "host": host, "controller": name}
            for host in hosts
            for name in [host.partition(".")[0]]
        ],
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with _process(folder, path) as log:
        (serving,) = log.find("worker is serving")
        plain, encrypted, proxied = (int(each.rpartition(":")[2]) for each in serving["listeners"])
        yield Site(plain, encrypted, proxied, origins, pair.certificate, pair.key, ca, log)


@contextmanager
def _process(folder: Path, config: Path) -> Iterator[GatewayLog]:
    with (folder / "gateway.log").open("wb") as output, (folder / "access.log").open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=output,
            cwd=ROOT,
        )
    log = GatewayLog(folder / "gateway.log")
    try:
        deadline = time.monotonic() + 30
        while not log.find("worker is serving"):
            assert process.poll() is None, log.tail()
            assert time.monotonic() < deadline, log.tail()
            time.sleep(0.02)
        yield log
        process.terminate()
        assert process.wait(20) == 0, log.tail()
    finally:
        if process.poll() is None:
            process.kill()  # its worker notices and ends, too
            process.wait()
