"""The admin listener's socket: where, whose, and through an upgrade."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server.admin.binding import bind_admin, check_admin_free, take_over


def config(folder: Path, **admin: Any) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": str(folder),
            "listeners": [{"address": "127.0.0.1:0"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            "admin": admin,
        }
    )


@pytest.mark.parametrize("mode", ["0600", "0660"])
def test_by_default_only_its_own_user_may(tmp_path: Path, mode: str) -> None:
    found = bind_admin(config(tmp_path, socket_mode=mode))
    assert found is not None
    assert found.address == f"unix:{tmp_path}/admin.sock"
    assert f"{stat.S_IMODE((tmp_path / 'admin.sock').stat().st_mode):04o}" == mode
    found.close()
    assert os.listdir(tmp_path) == []


def test_none_where_it_is_off(tmp_path: Path) -> None:
    assert bind_admin(config(tmp_path, listen="off")) is None


def test_a_port(tmp_path: Path) -> None:
    found = bind_admin(config(tmp_path, listen="127.0.0.1:0"))
    assert found is not None
    assert found.address.startswith("127.0.0.1:")
    assert not found.address.endswith(":0")
    found.close()


def test_another_program_is_not_pushed_out(tmp_path: Path) -> None:
    first = bind_admin(config(tmp_path))
    assert first is not None
    with pytest.raises(ConfigError, match="another program listens there"):
        bind_admin(config(tmp_path))
    first.socket.close()  # killed: what it left is stale
    second = bind_admin(config(tmp_path))
    assert second is not None
    second.close()


def test_a_port_in_use_names_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"admin.listen: found .*already in use"):
            bind_admin(config(tmp_path, listen=listen))


def test_it_goes_from_program_to_program(tmp_path: Path) -> None:
    found = bind_admin(config(tmp_path))
    assert found is not None
    words = found.in_words()
    found.let_go()
    again = take_over(words)
    assert (again.listen, again.address) == ("unix", f"unix:{tmp_path}/admin.sock")
    again.close()


def test_what_is_free(tmp_path: Path) -> None:
    check_admin_free(config(tmp_path))
    check_admin_free(config(tmp_path, listen="off"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = config(tmp_path, listen=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigError, match="already in use"):
            check_admin_free(taken)
    found = bind_admin(config(tmp_path))
    assert found is not None
    with pytest.raises(ConfigError, match="another program listens there"):
        check_admin_free(config(tmp_path))
    found.close()
