"""Tests of ``gateway.credentials.jenkins_secrets``: G.1, and files that change."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.config.credentials import JenkinsHomeConfig
from gateway.config.extracted import Extracted
from gateway.credentials.jenkins_secrets import JenkinsSecretsCheck, SecretSource, node_secret
from gateway.credentials.policy import Granted, Presented, Unrecognised
from gateway.errors import CredentialsUnavailable
from tests.credentials.jenkins_files import NODE_KEY, SECRETS, write_home

UNRECOGNISED = Unrecognised("not the secret that Jenkins has for this name")
OTHER_KEY = bytes(reversed(NODE_KEY))


@pytest.mark.parametrize("node", SECRETS)
def test_the_vectors(node: str) -> None:
    assert node_secret(NODE_KEY, node) == SECRETS[node]


def _write(path: Path, key: bytes = NODE_KEY) -> Path:
    path.write_bytes(Extracted(key, None).to_bytes())
    return path


def _presented(node: str, secret: str) -> Presented:
    return Presented("main", node, secret, "192.0.2.1")


@pytest.mark.parametrize("node", SECRETS)
async def test_right_and_wrong(tmp_path: Path, node: str) -> None:
    check = JenkinsSecretsCheck(SecretSource("main", _write(tmp_path / "f")))
    right = SECRETS[node]
    granted = await check.verify(_presented(node, right))
    assert granted == Granted(right, proved=True, mode="jenkins_secrets")
    for wrong in (right.upper(), right[:-1], right + "0", "", "é" * 64, "0" * 64):
        assert await check.verify(_presented(node, wrong)) == UNRECOGNISED
    assert await check.verify(_presented(node + " ", right)) == UNRECOGNISED


async def test_the_key_is_read_again_when_its_file_changes(
    tmp_path: Path, log: LogCapture, mock_clock: MockClock
) -> None:
    path = _write(tmp_path / "f")
    source = SecretSource("main", path)
    assert await source.secret("a") == node_secret(NODE_KEY, "a")
    path.unlink()
    mock_clock.jump(2.1)
    assert await source.secret("a") == node_secret(NODE_KEY, "a")  # being replaced, perhaps
    _write(path, OTHER_KEY)
    assert await source.secret("a") == node_secret(NODE_KEY, "a")  # nobody has looked yet
    mock_clock.jump(2.1)
    assert await source.secret("a") == node_secret(OTHER_KEY, "a")
    events = [entry["event"] for entry in log.entries]
    assert events == [
        "the node-secret key cannot be read",
        "the controller has a new node-secret key",
    ]
    assert log.entries[0]["in_force"] == "the one read before"


async def test_everybody_waits_for_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SecretSource("main", _write(tmp_path / "f"))
    looks: list[None] = []
    real = SecretSource._look

    def look(self: SecretSource) -> None:
        looks.append(None)
        real(self)

    monkeypatch.setattr(SecretSource, "_look", look)
    found: list[str] = []

    async def ask() -> None:
        found.append(await source.secret("my-agent"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert found == [SECRETS["my-agent"]] * 20
    assert len(looks) == 1


async def test_a_look_at_slow_files_holds_up_nobody_who_can_go_on(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SecretSource("main", _write(tmp_path / "f"))
    await source.secret("my-agent")
    mock_clock.jump(2.1)
    go_on = trio.Event()
    monkeypatch.setattr(SecretSource, "_look", lambda self: trio.from_thread.run(go_on.wait))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.secret, "my-agent")
        await trio.testing.wait_all_tasks_blocked()
        try:
            assert await source.secret("my-agent") == SECRETS["my-agent"]
        finally:
            go_on.set()


async def test_what_the_system_refuses_is_no_key(
    tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Extracted:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Extracted, "read", refuse)
    source = SecretSource("main", _write(tmp_path / "f"))
    with pytest.raises(CredentialsUnavailable):
        await source.secret("a")
    assert "Permission denied" in log.entries[0]["reason"]


async def test_a_home_that_comes_later(
    tmp_path: Path, log: LogCapture, mock_clock: MockClock
) -> None:
    """A sidecar may start before Jenkins has made its keys; one line says so, not one a second."""
    source = SecretSource("main", JenkinsHomeConfig(jenkins_home=tmp_path))
    for _ in range(5):
        with pytest.raises(CredentialsUnavailable, match="main cannot be read"):
            await source.secret("a")
        mock_clock.jump(2.1)
    assert len(log.entries) == 1
    write_home(tmp_path)
    assert await source.secret("my-agent") == SECRETS["my-agent"]
    write_home(tmp_path, master="cd" * 128, node_key=OTHER_KEY)
    mock_clock.jump(2.1)
    assert await source.secret("a") == node_secret(OTHER_KEY, "a")
