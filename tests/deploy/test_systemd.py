"""The units: systemd takes them, they are tight, and they fit the gateway and the example beside
them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.command import cli
from gateway.config.load import load
from gateway.config.processes import ShutdownConfig
from tests.certificates import write
from tests.tools import require_tool

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
PROGRAM = "/opt/remoting-gateway/bin/remoting-gateway"
LEAST_EXPOSED = 15  # tenths of systemd's "exposure level"; 9.6 is a unit without any hardening


def lines_of(name: str) -> list[str]:
    """Return the settings of a unit, without comments."""
    text = (FOLDER / name).read_text()
    return [line for line in text.splitlines() if "=" in line and not line.startswith("#")]


def value_of(name: str, key: str) -> str:
    """Return the only value of a key."""
    (value,) = (line.partition("=")[2] for line in lines_of(name) if line.startswith(f"{key}="))
    return value


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, with a program that is there: verify looks for it."""
    made = []
    for name in ("remoting-gateway.service", "remoting-gateway.socket"):
        text = (FOLDER / name).read_text().replace(PROGRAM, sys.executable)
        (tmp_path / name).write_text(text)
        made.append(str(tmp_path / name))
    return made


def test_systemd_takes_them(units: list[str]) -> None:
    command = [require_tool("systemd-analyze"), "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.stderr == b""
    assert done.returncode == 0


def test_systemd_takes_the_socket_behind_a_proxy(tmp_path: Path, units: list[str]) -> None:
    text = (FOLDER / "in-front/socket.conf").read_text()
    (socket,) = (Path(each) for each in units if each.endswith(".socket"))
    socket.write_text(f"{socket.read_text()}\n{text}")
    command = [require_tool("systemd-analyze"), "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, timeout=30)
    assert done.stderr == b""
    assert done.returncode == 0


def test_the_service_is_tight(units: list[str]) -> None:
    command = [require_tool("systemd-analyze"), "security", "--offline=true"]
    limit = f"--threshold={LEAST_EXPOSED}"
    done = subprocess.run([*command, limit, units[0]], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout.decode()


def test_the_commands_are_ours() -> None:
    for key, name in (("ExecStart", "run"), ("ExecStartPre", "check"), ("ExecReload", "reload")):
        program, command, *rest = value_of("remoting-gateway.service", key).split()
        assert program == PROGRAM
        assert command == name
        assert command in cli.commands
        assert rest == ["-c", "/etc/remoting-gateway/gateway.yaml"]


def test_it_is_given_the_time_to_end() -> None:
    shutdown = ShutdownConfig()
    needed = shutdown.pre_stop + shutdown.drain_timeout + 10
    assert int(value_of("remoting-gateway.service", "TimeoutStopSec")) >= needed


def test_the_example_fits_the_socket(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "gateway.yaml", tmp_path)
    (tmp_path / "tls").mkdir()
    pair = write(tmp_path, "jenkins.example.com")
    pair.certificate.rename(tmp_path / "tls" / "tls.crt")
    pair.key.rename(tmp_path / "tls" / "tls.key")
    loaded = load(tmp_path / "gateway.yaml")
    streams = [line for line in lines_of("remoting-gateway.socket") if "ListenStream=" in line]
    assert streams == [f"ListenStream={each.address}" for each in loaded.config.listeners]
