"""The PROXY protocol with real programs: HAProxy in front, nginx behind."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.certificates import client_context
from tests.peers.raw_client import RawClient
from tests.peers.raw_origin import RawOrigin, answering
from tests.server.workers import HOST, make_config, running_worker
from tests.tools import require_tool

GET = b"GET / HTTP/1.1\r\nHost: ci.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def haproxy() -> str:
    return require_tool("haproxy")


@pytest.fixture
def nginx() -> str:
    return require_tool("nginx")


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@asynccontextmanager
async def program(command: list[str], port: int) -> AsyncIterator[None]:
    """Run a program that listens on ``port`` inside the block."""
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            command,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await nursery.start(run)
        with trio.fail_after(10):
            while True:
                try:
                    stream = await trio.open_tcp_stream(HOST, port)
                except OSError:
                    await trio.sleep(0.05)
                else:
                    await stream.aclose()
                    break
        yield
        nursery.cancel_scope.cancel()


def write_haproxy(program: str, folder: Path, port: int, server: str) -> list[str]:
    path = folder / "haproxy.cfg"
    path.write_text(f"""\
defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen l
  bind {HOST}:{port}
  server gateway {server}
""")
    return [program, "-db", "-f", str(path)]


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_behind_haproxy(tmp_path: Path, haproxy: str, how: str, *, tls: bool) -> None:
    made = make_config(tmp_path).model_dump(mode="json")["listeners"]
    listeners = [{**one, "proxy_protocol": "required"} for one in made]
    origin = RawOrigin(answering(OK))
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        # The client comes from another loopback address than HAProxy's connections to us.
        config = make_config(
            tmp_path,
            f"http://{HOST}:{origin.port}/",
            listeners=listeners,
            trusted_proxies=[HOST],
            routes=[{"id": "r", "controller": "main", "allow_from": ["127.0.0.9"]}],
        )
        async with running_worker(config) as worker:
            port = free_port()
            server = f"{HOST}:{worker.tls if tls else worker.plain} {how} source {HOST}"
            async with program(write_haproxy(haproxy, tmp_path, port, server), port):
                for address, status in (("127.0.0.9", 200), ("127.0.0.8", 403)):
                    stream: trio.abc.Stream = await trio.open_tcp_stream(
                        HOST, port, local_address=address
                    )
                    if tls:
                        stream = trio.SSLStream(
                            stream, client_context(), server_hostname=HOST, https_compatible=True
                        )
                    async with RawClient(stream) as client:
                        assert (await client.ask(GET)).status == status
        (request,) = origin.requests
        assert request.get(b"x-forwarded-for") == b"127.0.0.9"
        nursery.cancel_scope.cancel()


def write_nginx(program: str, folder: Path, port: int) -> list[str]:
    path = folder / "nginx.conf"
    path.write_text(f"""\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {HOST}:{port} proxy_protocol;
    location / {{
      return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port";
    }}
  }}
}}
""")
    return [program, "-p", str(folder), "-c", str(path), "-e", str(folder / "error.log")]


async def test_before_nginx(tmp_path: Path, nginx: str) -> None:
    port = free_port()
    controllers = {"main": {"url": f"http://{HOST}:{port}/", "proxy_protocol": "v2"}}
    async with (
        program(write_nginx(nginx, tmp_path, port), port),
        running_worker(make_config(tmp_path, controllers=controllers)) as worker,
    ):
        for address in ("127.0.0.9", "127.0.0.8"):
            stream = await trio.open_tcp_stream(HOST, worker.plain, local_address=address)
            client_port = stream.socket.getsockname()[1]
            async with RawClient(stream) as client:
                for _ in range(2):
                    answer = await client.ask(GET)
                    assert answer.status == 200
                    assert answer.body.decode() == f"{address}:{client_port} {worker.plain}"
