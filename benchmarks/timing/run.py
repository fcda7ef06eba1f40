"""``./dev bench credentials``: can a caller tell refusals apart by their time?

Refusals of five kinds (unknown node, right name with a wrong secret, right name and secret from a
network that may not, revoked node, locked out) are asked for in an order that is mixed by a fixed
seed, in the modes ``nodes`` and ``jenkins_secrets`` (which knows of no revocation), and twice: over
HTTP from a gateway in a process of its own, as a caller sees them, and from the gate itself with
its waiting switched off, to see what the waiting hides. For each pair of kinds: the
Kolmogorov-Smirnov distance, which is the most by which a caller who sees one answer can improve on
guessing, beside what chance alone gives.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import socket
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.report import machine_line, median, percentile
from gateway.config.extracted import Extracted
from gateway.config.models import GatewayConfig
from gateway.credentials import gate
from gateway.credentials.issuing import Issuing
from gateway.credentials.jenkins_secrets import node_secret
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.policy import Presented
from gateway.errors import NotAuthorized
from gateway.observability.logs import configure

SEED: Final = 20_260_601
KINDS: Final = ("unknown node", "wrong secret", "not from here", "revoked node", "locked out")
MODES: Final = {
    "nodes": KINDS,
    "jenkins_secrets": tuple(kind for kind in KINDS if kind != "revoked node"),
}
_KEY: Final = bytes(range(64, 96))  # that Jenkins' secrets are computed from
_RULES: Final = {"rules": [{"match": "away-*", "allow_from": ["192.0.2.0/24"]}]}
_LOCKED: Final = "198.51.100.1"
_NODES: Final = 1000
_CAPABILITY: Final = (
    "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAf4="
)
_Question = tuple[str, str, str, str]  # kind, node, secret, address


def run(samples: int) -> dict[str, Any]:
    """Measure with ``samples`` of each kind, print, and return the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        right = _fill(folder)
        over_http, bare = {}, {}
        for mode in MODES:
            plan = _plan(mode, samples, right[mode])
            over_http[mode] = _summary(_over_http(folder, mode, plan))
            bare[mode] = _summary(trio.run(_bare, folder, mode, plan))
    result = {
        "machine": machine_line(),
        "seed": SEED,
        "samples_of_each_kind": samples,
        "by_chance_at_1_percent": round(1.63 * math.sqrt(2 / samples), 4),
        "over_http_ms": over_http,
        "without_waiting_ms": bare,
    }
    _print(result)
    return result


def _fill(folder: Path) -> dict[str, dict[str, str]]:
    """Issue secrets; return the right ones of nodes that may not come from here, for each mode."""
    (folder / "main.secrets").write_bytes(Extracted(_KEY, None).to_bytes())
    (folder / "main.secrets").chmod(0o600)
    store = SqliteNodeStore(folder)
    desk = Issuing(store, folder / "store.key", operator="benchmark")
    for i in range(_NODES):
        desk.issue("main", f"node-{i}", upstream="x" * 64)
    for i in range(0, _NODES, 2):
        desk.revoke("main", f"node-{i}")
    away = [f"away-{i}" for i in range(1, _NODES, 2)]
    issued = {name: desk.issue("main", name, upstream="x" * 64).secret for name in away}
    store.close()
    return {"nodes": issued, "jenkins_secrets": {name: node_secret(_KEY, name) for name in away}}


def _plan(mode: str, samples: int, right: dict[str, str]) -> list[_Question]:
    """Return the questions, mixed."""
    chance = random.Random(SEED)
    plan = []
    for kind in MODES[mode]:
        for i in range(samples):
            number = chance.randrange(_NODES // 2) * 2
            node = {
                "unknown node": f"none-{number}",
                "wrong secret": f"node-{number + 1}",
                "not from here": f"away-{number + 1}",
                "revoked node": f"node-{number}",
                "locked out": f"node-{number + 1}",
            }[kind]
            # Every question from an address of its own, so that nobody else is locked out.
            address = f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
            if kind == "locked out":
                address = _LOCKED
            secret = f"{chance.getrandbits(256):064x}"
            if kind == "not from here":
                secret = right[node]
            plan.append((kind, node, secret, address))
    chance.shuffle(plan)
    return plan


# -- over HTTP -------------------------------------------------------------------------------------


def _over_http(folder: Path, mode: str, plan: Sequence[_Question]) -> dict[str, list[float]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "gateway.yaml").write_text(
        f"state_dir: {folder}\n"
        f'listeners: [{{address: "127.0.0.1:{port}"}}]\n'
        "trusted_proxies: [127.0.0.1/32]\n"
        "lockout: {per_address: 5, per_address_total: 5, first: 1h, longest: 1h}\n"
        "log: {access: {to: off}}\n"
        "controllers:\n"
        '  main: {url: "http://127.0.0.1:9/", credentials: {modes: '
        f"[{mode}], jenkins_secrets: main.secrets}}}}\n"
        f"nodes: {json.dumps(_RULES)}\n"
    )
    command = [sys.executable, "-m", "gateway", "run", "-c", str(folder / "gateway.yaml")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            client = _connect(port)
            for i in range(5):
                _question(client, "node-1", f"lock {i}", _LOCKED)
            times: dict[str, list[float]] = {kind: [] for kind in MODES[mode]}
            for kind, node, secret, address in plan:
                times[kind].append(_question(client, node, secret, address))
            client.close()
        finally:
            process.terminate()
    return times


def _connect(port: int) -> socket.socket:
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.05)
            continue
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client
    raise RuntimeError("the gateway does not listen")


def _question(client: socket.socket, node: str, secret: str, address: str) -> float:
    """Return the seconds until the whole refusal was there."""
    request = (
        "GET /wsagents/ HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Node-Name: {node}\r\nSecret-Key: {secret}\r\nX-Forwarded-For: {address}\r\n"
        f"X-Remoting-Capability: {_CAPABILITY}\r\n\r\n"
    ).encode()
    began = time.perf_counter()
    client.sendall(request)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = client.recv(65536)
        if not data:
            raise RuntimeError(f"the gateway closed the connection after {answer!r}")
        answer += data
    took = time.perf_counter() - began
    if not answer.startswith(b"HTTP/1.1 403 "):
        raise RuntimeError(f"no refusal: {answer!r}")
    return took


# -- the gate alone --------------------------------------------------------------------------------


async def _bare(folder: Path, mode: str, plan: Sequence[_Question]) -> dict[str, list[float]]:
    config = GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [{"address": "127.0.0.1:0"}],
            "lockout": {
                "per_address": 5,
                "per_address_total": 5,
                "first": 3600.0,
                "longest": 3600.0,
            },
            "controllers": {
                "main": {
                    "url": "http://127.0.0.1:9/",
                    "credentials": {
                        "modes": [mode],
                        "jenkins_secrets": str(folder / "main.secrets"),
                    },
                }
            },
            "nodes": _RULES,
        }
    )
    # Written as a worker does it, and read by nobody.
    configure(json=True, stream=(folder / "log").open("w"))
    credentials = gate.Credentials(config)

    async def question(node: str, secret: str, address: str) -> float:
        presented = Presented("main", node, secret, address)
        began = time.perf_counter()
        try:
            await credentials._judge(presented)
        except NotAuthorized:
            return time.perf_counter() - began
        raise RuntimeError("a wrong secret was taken")

    for i in range(5):
        await question("node-1", f"lock {i}", _LOCKED)
    times: dict[str, list[float]] = {kind: [] for kind in MODES[mode]}
    for kind, node, secret, address in plan:
        times[kind].append(await question(node, secret, address))
    credentials._access.close()
    return times


# -- results ---------------------------------------------------------------------------------------


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples: 0 the same, 1 always told apart."""
    first, second = sorted(one), sorted(other)
    return max(
        abs(bisect_right(first, at) / len(first) - bisect_right(second, at) / len(second))
        for at in (*first, *second)
    )


def _summary(times: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "kinds": {
            kind: {
                "p10": round(percentile(found, 10) * 1000, 4),
                "median": round(median(found) * 1000, 4),
                "p90": round(percentile(found, 90) * 1000, 4),
            }
            for kind, found in times.items()
        },
        "distances": {
            f"{one} / {other}": round(distance(times[one], times[other]), 4)
            for one, other in itertools.combinations(times, 2)
        },
    }


def _print(result: dict[str, Any]) -> None:
    print(result["machine"])
    print(f"{result['samples_of_each_kind']} of each kind, seed {SEED}")
    for part, mode in itertools.product(("over_http_ms", "without_waiting_ms"), MODES):
        print(f"\n{mode}, {part}: p10 / median / p90")
        for kind, found in result[part][mode]["kinds"].items():
            print(f"  {kind:14} {found['p10']:9} {found['median']:9} {found['p90']:9}")
        print(f"  distances (by chance, at 1 %: {result['by_chance_at_1_percent']})")
        for pair, found in result[part][mode]["distances"].items():
            print(f"  {pair:32} {found}")
