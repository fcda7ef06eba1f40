"""What goes from one program to the next."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.server import handover
from gateway.server.handover import Handover
from gateway.server.slots import Listener


def make(**more: Any) -> Handover:
    values: dict[str, Any] = {
        "incarnation": 3,
        "generation": 7,
        "started": 1.5,
        "lock": 10,
        "control_socket": 11,
        "listeners": ({"address": "127.0.0.1:0", "shared": False, "sockets": [12, 13]},),
        "children": ({"pid": 5, "control": 14},),
        "config": {"workers": 2},
    }
    return Handover(**{**values, **more})


def test_it_arrives_as_it_was() -> None:
    left = make()
    descriptor = left.write()
    try:
        assert not os.get_inheritable(descriptor)
        assert handover.read(descriptor) == left
        assert handover.read(descriptor) == left
    finally:
        os.close(descriptor)
    assert left.descriptors == [10, 11, 12, 13, 14]
    admin = {"listen": "unix", "socket": 15, "path": "/state/admin.sock"}
    assert make(admin=admin).descriptors == [10, 11, 12, 13, 14, 15]


def test_another_version_is_refused() -> None:
    descriptor = make(version=99).write()
    with pytest.raises(ConfigError, match=r"version 99.* is not understood.*restart"):
        handover.read(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"nonsense", b'{"version": 1}'])
def test_what_is_none(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ConfigError, match="cannot be read"):
        handover.read(file.fileno())
    with pytest.raises(ConfigError, match="cannot be read"):
        handover.read(9999)


def test_listeners() -> None:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [sock.getsockname()[1] for sock in sockets]
    listener = Listener("127.0.0.1:0", sockets)
    words = handover.in_words([listener])
    listener.let_go()
    (again,) = handover.take_listeners(words)
    assert [sock.getsockname()[1] for sock in again.sockets] == ports
    assert (again.address, again.shared) == ("127.0.0.1:0", False)
    again.close()


def test_descriptors_outlive_the_program_only_if_told_to() -> None:
    reading, writing = os.pipe()
    handover.keep_open([reading, writing])
    assert os.get_inheritable(reading)
    assert os.get_inheritable(writing)
    handover.keep_private([reading, writing])
    assert not os.get_inheritable(reading)
    os.close(reading)
    os.close(writing)


def test_programs_of_the_same_version_need_not_know_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[dict[str, object]] = []

    def write(values: dict[str, object]) -> str:
        written.append(values)
        return json.dumps({**{k: v for k, v in values.items() if k != "restarts"}, "new": 1})

    monkeypatch.setattr(handover, "json", SimpleNamespace(dumps=write, loads=json.loads))
    left = make(restarts=3)
    descriptor = left.write()
    assert handover.read(descriptor) == make(restarts=0)
    assert written[0]["restarts"] == 3
    os.close(descriptor)
