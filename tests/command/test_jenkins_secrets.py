"""``jenkins-secrets extract``: what is read, what is written, what is not."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.command import cli
from gateway.config.extracted import Extracted
from tests.credentials.jenkins_files import MASTER_KEY, NODE_KEY, public_der, write_home

_opened: list[str] | None = None


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str | bytes | Path):
        _opened.append(str(arguments[0]))


def extract(home: Path, output: Path, *more: str) -> tuple[int, str]:
    arguments = ["jenkins-secrets", "extract", "--jenkins-home", str(home), "-o", str(output)]
    result = CliRunner().invoke(cli, [*arguments, *more])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_the_file(tmp_path: Path) -> None:
    home, output = write_home(tmp_path / "home"), tmp_path / "out"
    status, said = extract(home, output)
    assert status == 0
    found = Extracted.read(output)
    assert found.node_key == NODE_KEY
    assert found.identity is not None
    assert found.identity.der == public_der()
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    written = output.read_bytes()
    for secret in (MASTER_KEY.encode(), b"PRIVATE"):
        assert secret not in written
    assert NODE_KEY.hex() not in said
    assert MASTER_KEY not in said


def test_only_four_files_are_read(tmp_path: Path) -> None:
    """By the interpreter's own audit of what is opened."""
    global _opened
    home = write_home(tmp_path / "home")
    sys.addaudithook(_note_opened)
    _opened = []
    try:
        assert extract(home, tmp_path / "out")[0] == 0
        opened = {name for name in _opened if name.startswith(str(home))}
    finally:
        _opened = None
    assert opened == {
        str(home / "identity.key.enc"),
        str(home / "secrets" / "master.key"),
        str(home / "secrets" / "jenkins.slaves.JnlpSlaveAgentProtocol.secret"),
        str(home / "secrets" / "org.jenkinsci.main.modules.instance_identity.InstanceIdentity.KEY"),
    }


def test_to_standard_output(tmp_path: Path) -> None:
    """As for ``ssh controller ... > FILE``, so that no copy stays on the controller's machine."""
    home = str(write_home(tmp_path / "home"))
    arguments = ["jenkins-secrets", "extract", "--jenkins-home", home, "-o", "-"]
    result = CliRunner().invoke(cli, arguments)
    (tmp_path / "out").write_bytes(result.stdout_bytes)
    assert Extracted.read(tmp_path / "out").node_key == NODE_KEY
    assert "identity: SHA256:" in result.stderr


def test_without_an_identity(tmp_path: Path) -> None:
    status, said = extract(write_home(tmp_path / "home", identity=False), tmp_path / "out")
    assert status == 0
    assert "FILE has no identity" in said
    assert Extracted.read(tmp_path / "out").identity is None


@pytest.mark.parametrize("more", [(), ("--master-key", "mk")])
def test_what_is_missing(tmp_path: Path, more: tuple[str, ...]) -> None:
    home = write_home(tmp_path / "home")
    (home / "secrets" / "master.key").unlink()
    status, said = extract(home, tmp_path / "out", *more)
    assert status == 1
    assert "no such file" in said
    assert not (tmp_path / "out").exists()
