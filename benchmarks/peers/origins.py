"""The far ends of HTTP benchmarks: nginx for answers, a few lines of trio that swallow uploads.

Owns: their configuration and processes. ``python -m benchmarks.peers.origins`` is the sink.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from benchmarks.peers.proxies import free_port, start_process, wait_for_port
from benchmarks.report import Unavailable

SMALL_ANSWER = b"x" * 512


@dataclass(frozen=True, slots=True)
class Origins:
    """Plain HTTP on 127.0.0.1. ``answers`` serves ``/small`` and ``/big``, ``sink`` takes POST."""

    answers: int
    sink: int
    processes: tuple[subprocess.Popen[bytes], ...]

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(20)


def start_origins(folder: Path, *, mib: int) -> Origins:
    """Start both; ``/big`` has ``mib`` MiB, as has the file ``big`` in ``folder``."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Unavailable("nginx is needed as the origin: apt-get install nginx-light")
    answers, sink = free_port(), free_port()
    with (folder / "big").open("wb") as file:
        file.truncate(mib << 20)
    (folder / "origin.conf").write_text(f"""
worker_processes 1;
daemon off;
user {_user()};
pid {folder}/origin.pid;
error_log {folder}/origin-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 30s;
  client_body_temp_path {folder}/o-body; proxy_temp_path {folder}/o-proxy;
  fastcgi_temp_path {folder}/o-fcgi; uwsgi_temp_path {folder}/o-uwsgi;
  scgi_temp_path {folder}/o-scgi;
  server {{
    listen 127.0.0.1:{answers};
    root {folder};
    location /small {{ return 200 "{SMALL_ANSWER.decode()}"; }}
  }}
}}
""")
    command = [program, "-p", str(folder), "-c", str(folder / "origin.conf")]
    processes = (
        start_process(command, folder, "origin"),
        start_process(
            [sys.executable, "-m", "benchmarks.peers.origins", str(sink)], folder, "sink"
        ),
    )
    origins = Origins(answers, sink, processes)
    wait_for_port(answers, "nginx as origin")
    wait_for_port(sink, "the sink")
    return origins


def _user() -> str:
    # Workers must be able to read the folder, which is private to whoever runs the benchmark.
    return pwd.getpwuid(os.getuid()).pw_name


async def _serve(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):  # some proxies reset what they have no more use for
        await _swallow(stream)


async def _swallow(stream: trio.SocketStream) -> None:
    """Take one request after the other; every one says how long its body is."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = await stream.receive_some(65536)
            if not data:
                return
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        length -= len(buffer)
        while length > 0:
            data = await stream.receive_some(1 << 20)
            if not data:
                return
            length -= len(data)
        buffer = b""
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


if __name__ == "__main__":
    trio.run(partial(trio.serve_tcp, _serve, int(sys.argv[1]), host="127.0.0.1"))
