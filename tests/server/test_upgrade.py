"""The next program: tried first, then put in this one's place. Whole upgrades are in
``test_upgrade_processes``.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server import upgrade
from gateway.server.handover import Handover
from gateway.server.reloader import FileSource, FixedSource
from gateway.server.upgrade import probe, refusal_of_successor, replace_program

HOST = "127.0.0.1"


def config_text(folder: Path, *addresses: str, state: str = "state") -> Path:
    path = folder / "gateway.yaml"
    listeners = "".join(f'  - address: "{address}"\n' for address in addresses)
    path.write_text(
        f"state_dir: {state}\nlisteners:\n{listeners}"
        f'controllers: {{main: {{url: "http://127.0.0.1:9/"}}}}\n'
    )
    return path


def left_by(path: Path) -> Handover:
    """Return what a gateway with the configuration at ``path`` leaves."""
    config = FileSource(path).load(set()).config
    return Handover(
        incarnation=1,
        generation=1,
        started=0.0,
        lock=0,
        control_socket=0,
        listeners=tuple(
            {"address": str(each.address), "shared": False, "sockets": []}
            for each in config.listeners
        ),
        children=(),
        config=config.model_dump(mode="json"),
    )


def try_out(path: Path, left: Handover) -> None:
    descriptor = left.write()
    try:
        probe(FileSource(path), descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as sock:
        yield sock.getsockname()[1]


def test_a_program_that_could_take_over(tmp_path: Path, taken: int) -> None:
    # The address of the running gateway itself is taken, by us.
    left = left_by(config_text(tmp_path, f"{HOST}:{taken}"))
    try_out(config_text(tmp_path, f"{HOST}:{taken}", f"{HOST}:0"), left)


def test_one_that_could_not(tmp_path: Path, taken: int) -> None:
    left = left_by(config_text(tmp_path, f"{HOST}:0"))
    with pytest.raises(ConfigError, match="Another program has this port"):
        try_out(config_text(tmp_path, f"{HOST}:0", f"{HOST}:{taken}"), left)
    with pytest.raises(ConfigError, match=r"state_dir: .*other instead of .*state: that takes a r"):
        try_out(config_text(tmp_path, f"{HOST}:0", state="other"), left)
    with pytest.raises(ConfigError, match=r"gateway\.yaml:3: listeners\[0\]\.address"):
        try_out(config_text(tmp_path, "nonsense"), left)


def test_what_the_running_program_leaves_is_not_shown(tmp_path: Path) -> None:
    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    strange = {**left.config, "of_another_version": {"secret": "hunter2"}}
    with pytest.raises(ConfigError, match=r"is not understood \(of_another_version\)") as caught:
        try_out(path, dataclasses.replace(left, config=strange))
    assert "hunter2" not in str(caught.value)


async def test_the_next_program_is_asked(tmp_path: Path) -> None:
    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    assert await refusal_of_successor(FileSource(path), left) is None
    config_text(tmp_path, "nonsense")
    before = len(os.listdir("/proc/self/fd"))
    reason = await refusal_of_successor(FileSource(path), left)
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(reason).startswith("the new program cannot go on (status 1): ")
    assert f"{path}:3: listeners[0].address" in str(reason)


async def test_a_program_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    reason = await refusal_of_successor(FileSource(path), left)
    assert "the new program cannot be started" in str(reason)
    assert "/nowhere/python" in str(reason)
    assert replace_program(FileSource(path), left) == "/nowhere/python: No such file or directory"
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_program_of_before_that_knows_nothing_of_all_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not begin to serve a second time beside us."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho \"Error: No such option '--probe'.\" >&2\nexit 2\n")
    program.chmod(0o755)
    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    monkeypatch.setattr(sys, "executable", str(program))
    reason = await refusal_of_successor(FileSource(path), left)
    assert reason == "the new program cannot go on (status 2): Error: No such option '--probe'."


async def test_a_program_that_never_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(upgrade, "PROBE_TIMEOUT", 0.2)
    reason = await refusal_of_successor(FileSource(path), left)
    assert reason == "the new program did not say within 0.2 s that it can go on"


def test_without_a_file_the_same_command_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def execv(program: str, command: list[str]) -> None:
        ran.append(command)
        assert os.get_inheritable(int(command[-1]))
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "execv", execv)
    left = left_by(config_text(tmp_path, f"{HOST}:0"))
    config = GatewayConfig.model_validate(left.config)
    source = FixedSource(config, ("run", "--controller", "http://127.0.0.1:9/"))
    assert replace_program(source, left) == f"{sys.executable}: Permission denied"
    (command,) = ran
    at = command.index("gateway")
    assert command[at:-1] == [
        "gateway",
        "run",
        "--controller",
        "http://127.0.0.1:9/",
        "--inherited",
    ]


def test_logs_are_written_before_and_go_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(upgrade, "close_writers", lambda: done.append("close"))
    monkeypatch.setattr(upgrade, "reopen_writers", lambda: done.append("reopen"))

    def execv(program: str, command: list[str]) -> None:
        done.append("exec")
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "execv", execv)
    path = config_text(tmp_path, f"{HOST}:0")
    assert "Permission denied" in replace_program(FileSource(path), left_by(path))
    assert done == ["close", "exec", "reopen"]


@pytest.mark.parametrize("step", ["memfd_create", "set_inheritable"])
def test_what_cannot_be_left_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    path = config_text(tmp_path, f"{HOST}:0")
    left = left_by(path)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, step, fail)
    reason = replace_program(FileSource(path), left)
    assert reason == "nothing can be left to it: [Errno 24] Too many open files"
    assert len(os.listdir("/proc/self/fd")) == before
