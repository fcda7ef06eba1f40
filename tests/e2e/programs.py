"""nginx, Apache httpd and HAProxy as child processes, each with a configuration of its own.

Owns: starting them on free ports without touching the system's own installation, waiting until
they listen, stopping them, and their error logs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tools import require_tool

HOST: Final = "127.0.0.1"
APACHE_MODULES: Final = Path("/usr/lib/apache2/modules")
_START: Final = 15.0
# httpd refuses to serve as root, so there it is started as this user.
_NOBODY: Final = "nobody"


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass(frozen=True)
class Program:
    """A running server. ``log``: its error log, and what it wrote to standard output and error."""

    name: str
    log: Path

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")


@contextmanager
def nginx(folder: Path, servers: str, ports: Sequence[int]) -> Iterator[Program]:
    """Run nginx with ``servers``, the inside of its ``http`` block, inside the block."""
    folder.mkdir(exist_ok=True)
    temporary = "".join(
        f"  {kind}_temp_path {folder}/tmp-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(f"""\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
{temporary}
{servers}
}}
""")
    log = folder / "log"
    command = [
        require_tool("nginx"),
        *("-p", str(folder)),
        *("-c", str(path)),
        *("-e", str(log)),
    ]
    with _running("nginx", command, ports, log) as program:
        yield program


@contextmanager
def apache(folder: Path, config: str, modules: str, ports: Sequence[int]) -> Iterator[Program]:
    """Run Apache httpd with ``config`` inside the block. ``modules``: names, between spaces.

    ``folder`` must be where _NOBODY may look if the tests run as root; it will own it.
    """
    command = require_tool("apache2")
    user = _NOBODY if os.geteuid() == 0 else None
    path, log = folder / "httpd.conf", folder / "log"
    load = "".join(
        f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in modules.split()
    )
    listen = "".join(f"Listen {HOST}:{port}\n" for port in ports)
    path.write_text(f"""\
ServerRoot {folder}
ServerName {HOST}
{listen}
PidFile {folder}/httpd.pid
DefaultRuntimeDir {folder}
ErrorLog {log}
{load}
{config}
""")
    log.touch()
    if user is not None:
        subprocess.run(["chown", "-R", user, str(folder)], check=True, timeout=10)
    # -X: one process in the foreground
    with _running("apache2", [command, "-X", "-f", str(path)], ports, log, user) as program:
        yield program


@contextmanager
def haproxy(folder: Path, sections: str, ports: Sequence[int]) -> Iterator[Program]:
    """Run HAProxy with ``sections`` inside the block."""
    folder.mkdir(exist_ok=True)
    path = folder / "haproxy.cfg"
    path.write_text(f"""\
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
{sections}
""")
    command = [require_tool("haproxy"), "-db", "-f", str(path)]
    with _running("haproxy", command, ports, folder / "log") as program:
        yield program


@contextmanager
def _running(
    name: str, command: list[str], ports: Sequence[int], log: Path, user: str | None = None
) -> Iterator[Program]:
    program = Program(name, log)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=user
        )
    try:
        for port in ports:
            _wait_for(process, port, program)
        yield program
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, program: Program) -> None:
    deadline = time.monotonic() + _START
    while True:
        # First, because another process may have taken the port, and answers there.
        status = process.poll()
        assert status is None, f"{program.name} ended with {status}: {program.said()}"
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"{program.name} is not up: {program.said()}"
            time.sleep(0.02)
        else:
            return
