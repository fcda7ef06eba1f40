"""``import nginx``: files, exit statuses, where things are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.command import cli

_SITE = """\
server {
 listen 127.0.0.1:80;
 server_name ci;
 auth_basic x;
 gzip on;
 location / { proxy_pass http://j:8080; }
}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of nginx, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site.conf"
    path.write_text(_SITE)
    return path


def test_a_file_that_can_be_used(site: Path) -> None:
    result = CliRunner().invoke(cli, ["import", "nginx", "site.conf"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "gateway.yaml: written"
    assert lines[2] == "Left out; somebody has to decide:"
    assert lines[3].startswith("  site.conf:2: listen 127.0.0.1:80: nginx gave requests for other")
    assert lines[4].startswith("  site.conf:4: auth_basic x: the gateway asks nobody")
    assert lines[6] == "Not needed any more:"
    assert "  site.conf:5: gzip on: " in result.stdout
    assert CliRunner().invoke(cli, ["check", "-c", "gateway.yaml"]).exit_code == 0


def test_a_file_that_is_there_is_kept(site: Path) -> None:
    Path("gateway.yaml").write_text("mine")
    result = CliRunner().invoke(cli, ["import", "nginx", "site.conf"])
    assert result.exit_code == 1
    assert result.stderr == "gateway.yaml: it is there already; --force overwrites it\n"
    assert Path("gateway.yaml").read_text() == "mine"
    result = CliRunner().invoke(cli, ["import", "nginx", "--force", "site.conf"])
    assert result.exit_code == 0
    assert Path("gateway.yaml").read_text() != "mine"


def test_standard_output(site: Path) -> None:
    result = CliRunner().invoke(cli, ["import", "nginx", "-o", "-", "site.conf"])
    assert result.exit_code == 0
    assert "http://j:8080/" in result.stdout
    assert "Not needed any more:" in result.stderr
    assert not Path("gateway.yaml").exists()


def test_a_result_that_needs_more(site: Path) -> None:
    site.write_text(_SITE.replace(":80;", ":443 ssl;"))
    result = CliRunner().invoke(cli, ["import", "nginx", "site.conf"])
    assert result.exit_code == 1
    assert "The result cannot be used yet:" in result.stderr
    assert "listeners[0].tls" in result.stderr


def test_what_cannot_be_read(site: Path) -> None:
    site.write_text("server {\n")
    result = CliRunner().invoke(cli, ["import", "nginx", "site.conf"])
    assert result.exit_code == 1
    assert result.stderr.startswith("site.conf:")
    assert not Path("gateway.yaml").exists()
