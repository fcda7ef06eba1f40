"""Unix sockets with a path: how long, who may, and what is in the way."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.server.unix_socket import address_of, bind


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_modes_and_long_paths(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    path = folder / "a.sock"
    with bind(path, mode=mode, backlog=1):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with address_of(path) as address, socket.socket(socket.AF_UNIX) as client:
            client.connect(address)


def test_a_stale_one_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    bind(path, mode=0o600, backlog=1).close()
    bind(path, mode=0o600, backlog=1).close()


def test_what_is_no_socket_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="in the way and not a socket"):
        bind(path, mode=0o600, backlog=1)
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made: no such file"):
        bind(tmp_path / "none" / "a.sock", mode=0o600, backlog=1)
