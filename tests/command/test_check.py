"""``check``: exit statuses, where things are printed, the table."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from gateway.command import cli
from tests.peers.scripted_controller import own_identity

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
  kept: {url: http://e/, agents: {identity: KEY}}
  fixed: {agents: {address: "h:50000", identity: KEY}}
routes:
  - {id: a, controller: main}
  - {id: b, controller: plain, host: b.example.com}
  - {id: c, controller: sure, host: c.example.com}
  - {id: d, controller: modern, host: d.example.com}
  - {id: e, controller: kept, host: e.example.com}
  - {id: f, controller: fixed, host: f.example.com}
"""


def test_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(_GOOD.replace("KEY", own_identity().header))
    result = CliRunner().invoke(cli, ["check", "-c", str(path)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path}: configuration is valid"
    assert [line.split() for line in lines[2:4]] == [
        ["LISTENER", "TLS", "AGENTS"],
        ["127.0.0.1:8080", "no", "from", "loopback", "and", "trusted_proxies"],
    ]
    assert "a      *              /ci   main" in lines
    rows = {line.split()[0]: " ".join(line.split()[2:]) for line in lines if "  " in line}
    assert rows["main"].startswith("auto: jnlp4, else websocket discovered JNLP4-connect the first")
    assert rows["sure"].startswith("auto: jnlp4, else websocket discovered JNLP4-connect what its")
    assert rows["fixed"].startswith("agents only auto: jnlp4 h:50000 JNLP4-connect SHA256:")
    assert rows["kept"].startswith("auto: jnlp4 discovered JNLP4-connect SHA256:")
    assert "the first key seen is pinned" in result.stdout
    assert "not checked (plaintext)" in result.stdout
    assert "what its https url states" in result.stdout
    assert rows["modern"] == "websocket - - - controller"
    told = result.stderr.splitlines()
    assert told[0].startswith(f"warning: {path}:3: listeners[1].plain_agents: agents send")
    assert told[1].startswith(f"warning: {path}:5: controllers.main.agents.transport: where the")
    assert len(told) == 2


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
