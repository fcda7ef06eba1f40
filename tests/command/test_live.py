"""``check --live``: what a worker would choose, and why."""

from __future__ import annotations

import socket
import threading  # noqa: TID251 - the command runs an event loop of its own
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.command import cli


@pytest.fixture
def controller() -> Iterator[str]:
    """Serve what a Jenkins with WebSocket and without agent port says; yield ``host:port``."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                asked = peer.recv(65536)
                status = b"400 Bad Request" if b" /wsagents/ " in asked else b"404 Not Found"
                more = b"X-Jenkins: 2.5\r\nContent-Length: 0\r\n"
                peer.sendall(b"HTTP/1.1 %s\r\n%s\r\n" % (status, more))

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = server.getsockname()
    yield f"{host}:{port}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def run(folder: Path, controllers: str) -> tuple[int, list[list[str]]]:
    """Return the exit status and the rows of the last table."""
    path = folder / "gateway.yaml"
    names = [line.split(":")[0].strip() for line in controllers.splitlines() if line.strip()]
    routes = "".join(f"  - {{id: {n}, controller: {n}, host: {n}.example.com}}\n" for n in names)
    path.write_text(
        f"state_dir: {folder}\nlisteners: [{{address: 127.0.0.1:8080}}]\n"
        f"controllers:\n{controllers}routes:\n{routes}"
    )
    result = CliRunner().invoke(cli, ["check", "--live", "-c", str(path)])
    assert "Traceback" not in result.output
    assert "transport chosen" not in result.output  # the table says it
    table = result.stdout.rpartition("\n\n")[2].splitlines()
    assert table[0].split() == ["CONTROLLER", "TRANSPORT", "WHY"]
    return result.exit_code, [line.split(maxsplit=2) for line in table[1:]]


def test_ways_and_reasons(controller: str, tmp_path: Path) -> None:
    status, rows = run(
        tmp_path,
        f"  found: {{url: 'http://{controller}/'}}\n"
        f"  told: {{url: 'http://{controller}/', agents: {{transport: websocket}}}}\n",
    )
    assert status == 0
    assert rows[0][:2] == ["found", "websocket"]
    assert rows[0][2].startswith("/wsagents/ is there; no JNLP4: its TCP agent port is disabled")
    assert rows[1] == ["told", "websocket", "configured"]


def test_the_cli(controller: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"state_dir: {tmp_path}\nlisteners: [{{address: 127.0.0.1:8080}}]\n"
        f"controllers:\n  main: {{url: 'http://{controller}/'}}\n"
    )
    result = CliRunner().invoke(cli, ["check", "--live", "-c", str(path)])
    table = next(each for each in result.stdout.split("\n\n") if "  CLI " in each).splitlines()
    assert table[0].split() == ["CONTROLLER", "CLI", "WHY"]
    assert table[1].split(maxsplit=2) == ["main", "http", "it has no /cli/ws"]


def test_nobody_there(controller: str, tmp_path: Path) -> None:
    status, rows = run(
        tmp_path,
        f"  found: {{url: 'http://{controller}/'}}\n"
        "  away: {url: 'http://127.0.0.1:1/'}\n"
        "  fixed: {url: 'http://127.0.0.1:1/', agents: {transport: websocket}}\n",
    )
    assert status == 1
    assert [row[1] for row in rows] == ["websocket", "none", "websocket"]
    assert rows[1][2].startswith("not ready: no JNLP4: ")
    assert rows[2][2].startswith("not ready: 127.0.0.1:1")
