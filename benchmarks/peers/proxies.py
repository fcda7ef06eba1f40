"""The proxies that are measured: the gateway, HAProxy and nginx, each started by its own command.

Owns: the processes, and their configuration for one session of an agent: a
TLS listener and a TLS far end (``http_proxies`` has those for HTTP). HAProxy and nginx (Debian's
packages) relay the WebSocket as it is; the gateway translates to JNLP4, or relays as they do.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers import processes
from benchmarks.peers.certificates import Certificates
from gateway.runtime.memory import allocator_environment

# An agent's endpoint, in a spelling by which the agent knows that frames reach the far end.
RELAYED_TARGET: Final = "/wsagents/?relayed"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy. ``target`` is what an agent requests from it."""

    name: str
    version: str
    port: int
    target: str
    process: subprocess.Popen[bytes] | None

    def cpu_seconds(self) -> float:
        """User and system seconds of all its processes so far."""
        return 0.0 if self.process is None else processes.cpu_seconds(self.process.pid)

    def pss_bytes(self) -> int:
        """Return the proportional set size of all its processes."""
        return 0 if self.process is None else processes.pss_bytes(self.process.pid)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)  # it may have thousands of sessions to end
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def start_gateway(folder: Path, certificates: Certificates, controller_port: int) -> Proxy:
    """Start ``remoting-gateway run`` in front of the JNLP4 controller."""
    agents = f"agents: {{address: 127.0.0.1:{controller_port}, identity: {certificates.identity}}}"
    return _start_gateway(folder, certificates, "gateway", agents, "/wsagents/")


def start_gateway_with_nodes(
    folder: Path, certificates: Certificates, controller_port: int, state: Path, *, workers: int = 1
) -> Proxy:
    """Start it with issued secrets, whose store is in ``state``, and no wait for a turn.

    All but the latter are the defaults: thousands of agents that come at once would wait a minute
    in line, which costs nothing but their time.
    """
    agents = f"agents: {{address: 127.0.0.1:{controller_port}, identity: {certificates.identity}}}"
    name = "gateway" if workers == 1 else f"gateway, {workers} workers"
    return _start_gateway(
        folder,
        certificates,
        name,
        f"{agents}, credentials: {{modes: [nodes]}}",
        "/wsagents/",
        settings=f"workers: {workers}\nagents: {{handshake_rate: 10000}}",
        state=state,
    )


def start_gateway_relay(folder: Path, certificates: Certificates, origin_port: int) -> Proxy:
    """Start ``remoting-gateway run`` in front of the origin, as a controller with WebSocket."""
    url = f"url: https://localhost:{origin_port}/, tls: {{ca_file: {certificates.authority}}}"
    agents = f"{url}, agents: {{transport: websocket}}"
    # The origin counts bytes of frames, which a ping of the gateway among them would upset.
    settings = "agents: {keepalive: {interval: 55s, dead_after: 5m}}"
    return _start_gateway(
        folder, certificates, "gateway relay", agents, RELAYED_TARGET, settings=settings
    )


def _start_gateway(
    folder: Path,
    certificates: Certificates,
    name: str,
    controller: str,
    target: str,
    *,
    settings: str = "",
    state: Path | None = None,
) -> Proxy:
    port = free_port()
    config = folder / f"{name}.yaml"
    config.write_text(f"""
state_dir: {state or folder / f"{name}.state"}
{settings}
listeners:
  - address: "127.0.0.1:{port}"
    tls: {{certificates: [{{certificate: {certificates.chain}, key: {certificates.key}}}]}}
controllers:
  main: {{{controller}}}
""")
    process = start_process(
        [sys.executable, "-m", "gateway", "run", "-c", str(config)], folder, name
    )
    version = version_of([sys.executable, "-m", "gateway", "--version"])
    return wait(Proxy(name, version, port, target, process))


def start_haproxy(folder: Path, certificates: Certificates, origin_port: int) -> Proxy | None:
    """Start HAProxy with one thread, TLS in and TLS out; None where it is not installed."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        return None
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend public
    bind 127.0.0.1:{port} ssl crt {certificates.both}
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin_port} ssl verify none
""")
    process = start_process([program, "-f", str(config)], folder, "haproxy")
    return wait(Proxy("haproxy", version_of([program, "-v"]), port, "/bench/", process))


def start_nginx(folder: Path, certificates: Certificates, origin_port: int) -> Proxy | None:
    """Start nginx with one worker, TLS in and TLS out; None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificates.chain};
    ssl_certificate_key {certificates.key};
    location / {{
      proxy_pass https://127.0.0.1:{origin_port};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_buffering off;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }}
  }}
}}
""")
    process = start_process([program, "-p", str(folder), "-c", str(config)], folder, "nginx")
    return wait(Proxy("nginx", version_of([program, "-v"]), port, "/bench/", process))


def start_floor(folder: Path, certificates: Certificates, origin_port: int) -> Proxy:
    """Start the least that a relay in Python can do (``floor``)."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.floor", str(port), str(origin_port)]
    files = [str(certificates.chain), str(certificates.key)]
    environment = allocator_environment()
    process = start_process([*command, *files], folder, "floor", environment=environment)
    return wait(Proxy("floor", "", port, "/bench/", process))


def start_process(
    command: list[str], folder: Path, name: str, *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``command`` with its output in ``folder``; ``environment`` is added to ours."""
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )


def wait(proxy: Proxy) -> Proxy:
    """Wait until ``proxy`` listens; end the benchmark if it does not."""
    try:
        wait_for_port(proxy.port, proxy.name)
    except SystemExit:
        proxy.stop()
        raise
    return proxy


def wait_for_port(port: int, name: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{name} does not listen")


def version_of(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout + done.stderr).strip().splitlines() or ["unknown"])[0]
