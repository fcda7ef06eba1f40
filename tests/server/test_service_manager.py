"""systemd's two protocols: sockets that are passed in, and telling it how things stand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.server import service_manager
from gateway.server.service_manager import Passed, adopt, notify, passed_sockets, reloading

HOST = "127.0.0.1"


def listener(address: str) -> ListenerConfig:
    return ListenerConfig(address=Address.parse(address))


# -- sockets ---------------------------------------------------------------------------------------


def take(sockets: list[socket.socket], *, names: str = "", pid: str = "own") -> str:
    """Have another process take ``sockets`` over as systemd passes them; return what it says."""
    program = f"""
import json, os, sys
fds = {[sock.fileno() for sock in sockets]}
copies = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(copies):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_PID"] = str(os.getpid()) if {pid!r} == "own" else {pid!r}
os.environ["LISTEN_FDS"] = str(len(fds))
os.environ["LISTEN_FDNAMES"] = {names!r}
from gateway.errors import ConfigError
from gateway.server.service_manager import passed_sockets
try:
    found = passed_sockets()
except ConfigError as error:
    sys.exit(str(error))
assert not any(name.startswith("LISTEN_") for name in os.environ)
print(json.dumps([
    [each.name, each.socket.getsockname()[1], os.get_inheritable(each.socket.fileno())]
    for each in found
]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        pass_fds=[sock.fileno() for sock in sockets],
        capture_output=True,
        text=True,
        cwd=Path(service_manager.__file__).parents[2],
        check=False,
    )
    return done.stdout + done.stderr


def test_sockets_are_taken_with_their_names() -> None:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        ports = [sock.getsockname()[1] for sock in (one, other)]
        found = json.loads(take([one, other], names="web"))
    assert found == [["web", ports[0], False], ["descriptor 4", ports[1], False]]


def test_those_of_another_process_are_left_alone() -> None:
    with socket.create_server((HOST, 0)) as sock:
        assert json.loads(take([sock], pid="1")) == []
    assert passed_sockets({}) == []
    assert passed_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == []


@pytest.mark.parametrize("kind", ["unix", "connected"])
def test_what_is_no_listening_tcp_socket_is_named(kind: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as sock:
        if kind == "unix":
            sock.bind(str(tmp_path / "s"))
            sock.listen()
        text = take([sock], names="web")
    assert "socket activation: web is not a listening TCP socket" in text
    assert "ListenStream=" in text


def test_each_goes_to_the_listener_with_its_address() -> None:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        ports = [sock.getsockname()[1] for sock in (one, other)]
        configs = [listener(f"{HOST}:{port}") for port in (ports[1], 9, ports[0])]
        found = adopt([Passed(one, "a"), Passed(other, "b")], configs)
        assert [(each.address, each.sockets, each.shared) for each in found] == [
            (f"{HOST}:{ports[0]}", [one], True),
            (f"{HOST}:{ports[1]}", [other], True),
        ]
        with pytest.raises(ConfigError) as caught:
            adopt([Passed(one, "a")], [listener(f"{HOST}:9"), listener("0.0.0.0:8443")])
    assert str(caught.value) == (
        f"socket activation: a listens on {HOST}:{ports[0]}, which is no listener's address;"
        f" allowed: {HOST}:9, 0.0.0.0:8443. Mend ListenStream=, or listeners."
    )


def test_a_mere_port_is_every_address_of_either_family() -> None:
    with socket.create_server(("0.0.0.0", 0)) as sock:
        port = sock.getsockname()[1]
        for host in ("0.0.0.0", "[::]"):
            (found,) = adopt([Passed(sock, "a")], [listener(f"{host}:{port}")])
            assert found.address == f"{host}:{port}"


# -- readiness -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_is_told(kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    address = path if kind == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path if kind == "path" else f"\0{path}")
        manager.settimeout(5)
        notify("READY=1", "STATUS=serving", environ={"NOTIFY_SOCKET": address})
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"
        notify(*reloading(), environ={"NOTIFY_SOCKET": address})
        first, second = manager.recv(100).decode().split("\n")
        assert first == "RELOADING=1"
        assert second.removeprefix("MONOTONIC_USEC=").isdigit()


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "vsock:1:2"])
def test_where_there_is_none_nothing_happens(address: str) -> None:
    notify("READY=1", environ={"NOTIFY_SOCKET": address})
    notify("READY=1", environ={})
