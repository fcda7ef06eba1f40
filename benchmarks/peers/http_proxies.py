"""The proxies as HTTP reverse proxies: TLS in, plain HTTP with kept connections out.

Owns: their configuration. Each has one worker, and the gateway takes part with two as well, since
mitmproxy could not have more than one; none of them buffers bodies, as Jenkins needs it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.peers.certificates import Certificates
from benchmarks.peers.proxies import Proxy, free_port, start_process, version_of, wait


def start_all(folder: Path, certificates: Certificates, *, answers: int, sink: int) -> list[Proxy]:
    """Start every installed proxy; ``/upload`` is for ``sink``, all else for ``answers``."""
    made = [
        _gateway(folder, certificates, answers, sink),
        _gateway(folder, certificates, answers, sink, workers=2),
        _haproxy(folder, certificates, answers, sink),
        _nginx(folder, certificates, answers, sink),
        _mitmproxy(folder, certificates, answers),
    ]
    return [proxy for proxy in made if proxy is not None]


def _gateway(
    folder: Path, certificates: Certificates, answers: int, sink: int, *, workers: int = 1
) -> Proxy:
    port = free_port()
    name = "gateway" if workers == 1 else f"gateway, {workers} workers"
    config = folder / f"gateway-http-{workers}.yaml"
    config.write_text(f"""
state_dir: {folder}/state-{workers}
workers: {workers}
log: {{access: {{to: "off"}}}}
listeners:
  - address: "127.0.0.1:{port}"
    tls: {{certificates: [{{certificate: {certificates.chain}, key: {certificates.key}}}]}}
controllers:
  answers: {{url: "http://127.0.0.1:{answers}/"}}
  sink: {{url: "http://127.0.0.1:{sink}/upload"}}
routes:
  - {{id: answers, controller: answers}}
  - {{id: sink, controller: sink}}
""")
    command = [sys.executable, "-m", "gateway", "run", "-c", str(config)]
    process = start_process(command, folder, f"gateway-http-{workers}")
    version = version_of([sys.executable, "-m", "gateway", "--version"])
    return wait(Proxy(name, version, port, "/", process))


def _haproxy(folder: Path, certificates: Certificates, answers: int, sink: int) -> Proxy | None:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        return None
    port = free_port()
    config = folder / "haproxy-http.cfg"
    config.write_text(f"""
global
    nbthread 1
defaults
    mode http
    option forwardfor
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend public
    bind 127.0.0.1:{port} ssl crt {certificates.both}
    use_backend sink if {{ path_beg /upload }}
    default_backend answers
backend answers
    server origin 127.0.0.1:{answers}
backend sink
    server origin 127.0.0.1:{sink}
""")
    process = start_process([program, "-f", str(config)], folder, "haproxy-http")
    return wait(Proxy("haproxy", version_of([program, "-v"]), port, "/", process))


def _nginx(folder: Path, certificates: Certificates, answers: int, sink: int) -> Proxy | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    port = free_port()
    config = folder / "nginx-http.conf"
    config.write_text(f"""
worker_processes 1;
daemon off;
pid {folder}/nginx-http.pid;
error_log {folder}/nginx-http-error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/h-body; proxy_temp_path {folder}/h-proxy;
  fastcgi_temp_path {folder}/h-fcgi; uwsgi_temp_path {folder}/h-uwsgi;
  scgi_temp_path {folder}/h-scgi;
  upstream answers {{ server 127.0.0.1:{answers}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificates.chain};
    ssl_certificate_key {certificates.key};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffering off;
    proxy_request_buffering off;
    location / {{ proxy_pass http://answers; }}
    location /upload {{ proxy_pass http://127.0.0.1:{sink}; }}
  }}
}}
""")
    process = start_process([program, "-p", str(folder), "-c", str(config)], folder, "nginx-http")
    return wait(Proxy("nginx", version_of([program, "-v"]), port, "/", process))


def _mitmproxy(folder: Path, certificates: Certificates, answers: int) -> Proxy | None:
    """Start mitmdump as a reverse proxy; $MITMDUMP names it where it is not on the path."""
    program = os.environ.get("MITMDUMP") or shutil.which("mitmdump")
    if program is None:
        return None
    port = free_port()
    command = [
        *(program, "--quiet", "--mode", f"reverse:http://127.0.0.1:{answers}"),
        *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
        *("--certs", f"*={certificates.both}", "--set", f"confdir={folder}/mitm"),
        *("--set", "flow_detail=0", "--set", "http2=false", "--set", "stream_large_bodies=64k"),
    ]
    process = start_process(command, folder, "mitmproxy")
    return wait(Proxy("mitmproxy", version_of([program, "--version"]), port, "/", process))
