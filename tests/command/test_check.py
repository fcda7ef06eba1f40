"""``check``: exit statuses, where things are printed, the table."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from gateway.command import cli

_GOOD = """\
listeners:
  - address: 127.0.0.1:8080
  - {address: "[::]:8081", plain_agents: true}
controllers:
  main: {url: "http://jenkins.lan:8080/ci"}
  plain:
    url: https://b/
    agents: {address: "b:50000", protocol: JNLP4-plaintext, allow_plaintext: true}
  sure: {url: https://c/}
  modern: {url: https://d/, agents: {transport: websocket}}
routes:
  - {id: a, controller: main}
  - {id: b, controller: plain, host: b.example.com}
  - {id: c, controller: sure, host: c.example.com}
  - {id: d, controller: modern, host: d.example.com}
"""


def test_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(_GOOD)
    result = CliRunner().invoke(cli, ["check", "-c", str(path)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path}: configuration is valid"
    assert [line.split() for line in lines[2:4]] == [
        ["LISTENER", "TLS", "AGENTS"],
        ["127.0.0.1:8080", "no", "from", "loopback", "and", "trusted_proxies"],
    ]
    assert "a      *              /ci   main" in lines
    assert (
        "main        http://jenkins.lan:8080/ci/  auto       discovered  JNLP4-connect"
        in result.stdout
    )
    assert "the first key seen is pinned" in result.stdout
    assert "not checked (plaintext)" in result.stdout
    assert "what its https url states" in result.stdout
    assert "modern      https://d/                   websocket  -" in result.stdout
    assert result.stderr.startswith(f"warning: {path}:3: listeners[1].plain_agents: agents send")


def test_an_invalid_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("listeners: []\nextra: 1\n")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
        f"{path}:1",
        f"{path}:1",
        f"{path}:2",
    ]
    assert "Traceback" not in result.stderr
