"""The price of a session beside websockify's, which unwraps WebSocket as the gateway does.

Owns: that comparison, with HAProxy as the measure. websockify (Python, numpy) takes TLS and
WebSocket in, and hands the payload on through TLS: that much is the same work. Not comparable: it
has no JNLP4 handshake, no credentials, no chunks to look at, no pings, no limits; it starts a
process for each session. Its downstream frames are as large as what it reads. $WEBSOCKIFY names
the program where it is not on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.peers.agents import BLOCK, blocks_of, run_agent, warm_up
from benchmarks.peers.certificates import Certificates, make_certificates
from benchmarks.peers.crowds import End
from benchmarks.peers.proxies import (
    Proxy,
    free_port,
    start_gateway,
    start_haproxy,
    start_process,
    wait,
)
from benchmarks.report import (
    Samples,
    Unavailable,
    against,
    machine_line,
    print_medians,
    result,
)

_GIB: Final = 1 << 30
_UP: Final = "upload CPU s/GiB"
_DOWN: Final = "download CPU s/GiB"
# websockify looks once a second for processes that have ended; only then their CPU is known.
_REAPED: Final = 2.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each round."""

    mib: int
    runs: int


def run(sizes: Sizes) -> dict[str, Any]:
    """Measure, print, and return the result."""
    program = os.environ.get("WEBSOCKIFY") or shutil.which("websockify")
    if program is None:
        raise Unavailable("websockify is needed: apt-get install websockify, or $WEBSOCKIFY")
    samples: Samples = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        certificates = make_certificates(folder)
        proxies = _start(folder, certificates, program, stack)
        warm_up(proxies, certificates)
        for number in range(sizes.runs):
            for proxy in proxies:
                print(f"run {number + 1} of {sizes.runs}: {proxy.name}", file=sys.stderr)
                for work, what in (("upload", _UP), ("download", _DOWN)):
                    samples[proxy.name][what].append(_bulk(proxy, certificates, work, sizes.mib))
    console = Console(width=140)
    console.print(machine_line())
    print_medians(console, f"one session, TLS in and out, {sizes.mib} MiB", samples)
    return result(
        settings={name: getattr(sizes, name) for name in sizes.__slots__},
        versions={proxy.name: proxy.version for proxy in proxies},
        samples=samples,
        figures={
            f"{work} / websockify": against(samples, "gateway", "websockify", what, "s/GiB")
            for work, what in (("up", _UP), ("down", _DOWN))
        },
    )


def _start(folder: Path, certificates: Certificates, program: str, stack: ExitStack) -> list[Proxy]:
    ends = {kind: End(kind, folder) for kind in ("controller", "origin", "stream")}
    for end in ends.values():
        stack.callback(end.stop)
    proxies = []
    for start, kind in (
        (start_gateway, "controller"),
        (partial(_start_websockify, program), "stream"),
        (start_haproxy, "origin"),
    ):
        proxy = start(folder, certificates, ends[kind].port)
        if proxy is not None:
            proxies.append(proxy)
            stack.callback(proxy.stop)
    return proxies


def _start_websockify(
    program: str, folder: Path, certificates: Certificates, stream_port: int
) -> Proxy:
    port = free_port()
    command = [
        *(program, "--cert", str(certificates.chain), "--key", str(certificates.key)),
        *("--ssl-only", "--ssl-target", f"127.0.0.1:{port}", f"127.0.0.1:{stream_port}"),
    ]
    # It verifies the far end, by what the system trusts.
    trust = {"SSL_CERT_FILE": str(certificates.authority)}
    process = start_process(command, folder, "websockify", environment=trust)
    return wait(Proxy("websockify", _version(program), port, "/wsagents/", process))


def _version(program: str) -> str:
    """Ask the interpreter of the script: the program itself does not tell."""
    interpreter = Path(program).read_text().partition("\n")[0].removeprefix("#!").strip()
    code = (
        "from importlib.metadata import version as v;"
        " print('websockify', v('websockify') + ', numpy', v('numpy'))"
    )
    done = subprocess.run(
        [*interpreter.split(), "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _bulk(proxy: Proxy, certificates: Certificates, work: str, mib: int) -> float:
    blocks = blocks_of(mib)
    before = proxy.cpu_seconds()
    run_agent(proxy, certificates, work, blocks)
    time.sleep(_REAPED)
    return (proxy.cpu_seconds() - before) * _GIB / (blocks * BLOCK)
