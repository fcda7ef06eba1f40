"""Tests of ``gateway.credentials.jenkins_home``: PROTOCOLS G.2 and G.3, and what may be wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.config.extracted import Extracted
from gateway.credentials.jenkins_home import (
    JenkinsFileError,
    JenkinsHome,
    confidential_key,
    master_key,
)
from tests.credentials.jenkins_files import (
    AES_KEY,
    MAGIC,
    MASTER_KEY,
    NODE_KEY,
    NODE_KEY_FILE,
    encrypt,
    public_der,
    write_home,
)


def test_the_worked_example() -> None:
    assert master_key(MASTER_KEY.encode()) == AES_KEY
    assert confidential_key(NODE_KEY_FILE, AES_KEY) == NODE_KEY
    assert encrypt(NODE_KEY + MAGIC, AES_KEY) == NODE_KEY_FILE


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "\t{}  "])
def test_white_space_around_the_master_key(around: str) -> None:
    assert master_key(around.format(MASTER_KEY).encode()) == AES_KEY


@pytest.mark.parametrize("length", [1, 16, 32, 64, 200])
def test_keys_of_any_length(length: int) -> None:
    assert confidential_key(encrypt(b"k" * length + MAGIC, AES_KEY), AES_KEY) == b"k" * length


@pytest.mark.parametrize(
    "data",
    [
        b"",
        NODE_KEY_FILE[:-1],
        NODE_KEY_FILE[:-16],
        NODE_KEY_FILE + b"\0",
        b"\0" * 48,
        encrypt(NODE_KEY, AES_KEY),  # no MAGIC
        encrypt(NODE_KEY + MAGIC[:-1], AES_KEY),
        encrypt(MAGIC + NODE_KEY, AES_KEY),
    ],
)
def test_what_jenkins_would_not_take_either(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        confidential_key(data, AES_KEY)


def test_a_whole_home(tmp_path: Path) -> None:
    found = JenkinsHome(write_home(tmp_path)).read()
    assert found.node_key == NODE_KEY
    assert found.identity is not None
    assert found.identity.der == public_der()
    assert "@ABC" not in repr(found)


def test_a_master_key_elsewhere(tmp_path: Path) -> None:
    home = write_home(tmp_path / "home")
    elsewhere = tmp_path / "mk"
    (home / "secrets" / "master.key").rename(elsewhere)
    assert JenkinsHome(home, elsewhere).read().node_key == NODE_KEY
    with pytest.raises(JenkinsFileError, match=r"secrets/master\.key: no such file"):
        JenkinsHome(home).read()


def test_without_an_identity(tmp_path: Path) -> None:
    assert JenkinsHome(write_home(tmp_path, identity=False)).read() == Extracted(NODE_KEY, None)


def _damage(home: Path, what: str) -> None:
    secrets = home / "secrets"
    node = secrets / "jenkins.slaves.JnlpSlaveAgentProtocol.secret"
    identity = secrets / "org.jenkinsci.main.modules.instance_identity.InstanceIdentity.KEY"
    match what:
        case "other master key":
            (secrets / "master.key").write_text("ab" * 128)
        case "missing MAGIC":
            node.write_bytes(encrypt(NODE_KEY, AES_KEY))
        case "empty key":
            node.write_bytes(encrypt(MAGIC, AES_KEY))
        case "missing":
            node.unlink()
        case "a folder":
            node.unlink()
            node.mkdir()
        case "huge":
            node.write_bytes(b"\0" * (2 << 20))
        case "identity damaged":
            (home / "identity.key.enc").write_bytes(b"\0" * 32)
        case "identity without its key":
            identity.unlink()
        case "identity's key short":
            identity.write_bytes(encrypt(b"x" * 15 + MAGIC, AES_KEY))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("other master key", "does not fit the master key"),
        ("missing MAGIC", "the end mark is missing"),
        ("empty key", "holds an empty key"),
        ("missing", "no such file"),
        ("a folder", "is a directory"),
        ("huge", "is bigger"),
        ("identity damaged", "cannot be decrypted to a private key"),
        ("identity without its key", "no such file"),
        ("identity's key short", "cannot be decrypted"),
    ],
)
def test_damaged_homes(tmp_path: Path, what: str, text: str) -> None:
    _damage(write_home(tmp_path), what)
    with pytest.raises(JenkinsFileError, match=text) as caught:
        JenkinsHome(tmp_path).read()
    assert str(tmp_path) in str(caught.value)
    for secret in (MASTER_KEY, NODE_KEY.hex(), AES_KEY.hex(), NODE_KEY.decode()):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("number", range(4))
def test_unreadable(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user finds it; to root no file is like that."""
    home = JenkinsHome(write_home(tmp_path))
    kept = home.files[number]
    really = os.open

    def refuse(path: str | Path, flags: int) -> int:
        if Path(path) == kept:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(JenkinsFileError) as caught:
        home.read()
    assert str(caught.value) == f"{kept}: permission denied"
