"""``healthcheck``: one line, 0 or 1, and soon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.command import cli
from gateway.command.healthcheck import LIMIT
from gateway.errors import ConfigError
from gateway.server import control_socket

READY = {"ok": True, "ready": True, "reasons": []}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["healthcheck", *arguments])


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def ask(folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        assert question == {"do": "readiness"}
        assert within <= LIMIT
        if not found:
            raise ConfigError("no gateway runs here")
        return found

    monkeypatch.setattr("gateway.server.control_socket.ask", ask)
    return found


def test_ready(answer: dict[str, Any]) -> None:
    answer.update(READY)
    result = run("--state-dir", "/state")
    assert (result.exit_code, result.output) == (0, "ready\n")


def test_not_ready(answer: dict[str, Any]) -> None:
    answer.update({"ok": True, "ready": False, "reasons": ["draining"]})
    result = run("--state-dir", "/state")
    assert (result.exit_code, result.output) == (1, "not ready: draining\n")


def test_a_gateway_that_does_not_know_the_question(answer: dict[str, Any]) -> None:
    answer.update({"ok": False, "reason": "this gateway does not know that command"})
    assert run("--state-dir", "/state").exit_code == 1


def test_nobody_is_there(tmp_path: Path) -> None:
    result = run("--state-dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.output.startswith("no answer: ")
    assert result.output.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    with control_socket.bind(tmp_path):
        began = time.monotonic()
        result = run("--state-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "did not answer within 2 s" in result.output
    assert time.monotonic() - began < 30, "and not for ever"


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        assert self.path == "/readyz"
        self.send_response(int(sys.argv[1]))
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())

server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def admin(body: str, status: int = 200) -> Iterator[int]:
    command = [sys.executable, "-c", SERVER, str(status), body]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def config(folder: Path, listen: str) -> str:
    path = folder / "gateway.yaml"
    path.write_text(f'state_dir: {folder}\nadmin: {{listen: "{listen}"}}\n')
    return str(path)


def test_by_the_admin_listener_where_the_socket_is_out_of_reach(tmp_path: Path) -> None:
    with admin('{"ready": true}') as port:
        assert run("-c", config(tmp_path, f"0.0.0.0:{port}")).output == "ready\n"
    with admin('{"ready": false, "reasons": ["draining"]}', 503) as port:
        result = run("-c", config(tmp_path, f"127.0.0.1:{port}"))
        assert (result.exit_code, result.output) == (1, "not ready: draining\n")
    with admin("nonsense") as port:
        assert run("-c", config(tmp_path, f"127.0.0.1:{port}")).exit_code == 1


def test_neither_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    result = run("-c", config(tmp_path, f"127.0.0.1:{port}"))
    assert result.exit_code == 1
    assert "Nor at 127.0.0.1:" in result.output
    assert result.output.count("\n") == 1
