"""What keeps the supervisor from starting. Whole gateways are in ``test_supervisor_processes`` and
``test_upgrade_processes``.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server import control_socket
from gateway.server.program import run_supervisor
from gateway.server.reloader import FixedSource
from tests.server.processes import HOST


def source_for(folder: Path, *addresses: str) -> FixedSource:
    return FixedSource(
        GatewayConfig.model_validate(
            {
                "state_dir": str(folder),
                "listeners": [{"address": address} for address in addresses],
                "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            }
        )
    )


def failure(source: FixedSource) -> str:
    """Return why the gateway does not start; nothing of it may be left."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError) as caught:
        run_supervisor(source)
    assert len(os.listdir("/proc/self/fd")) == before
    return str(caught.value)


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        text = failure(source_for(tmp_path, f"{HOST}:0", f"{HOST}:{port}"))
    assert text.startswith(f"listener {HOST}:{port}: address already in use. Another program has")
    assert f"`ss -ltnp sport = :{port}`" in text


def test_a_state_folder_of_another_gateway(tmp_path: Path) -> None:
    lock = control_socket.lock(tmp_path)
    assert "belongs to a gateway that runs" in failure(source_for(tmp_path, f"{HOST}:0"))
    os.close(lock)


def test_something_in_the_control_sockets_place(tmp_path: Path) -> None:
    (tmp_path / control_socket.SOCKET).mkdir()
    assert "is in the way and not a socket" in failure(source_for(tmp_path, f"{HOST}:0"))


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    source = source_for(tmp_path, f"{HOST}:0")
    pair = {"certificate": str(tmp_path / "none.crt"), "key": str(tmp_path / "none.key")}
    listener = {"address": f"{HOST}:0", "tls": {"certificates": [pair]}}
    wrong = {**source.config.model_dump(mode="json"), "listeners": [listener]}
    text = failure(FixedSource(GatewayConfig.model_validate(wrong)))
    assert "none.crt: cannot be used" in text
