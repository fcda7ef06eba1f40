"""``run``: with a file, and for one controller without any."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

import gateway
from gateway.command import cli
from gateway.command.run import announcement
from gateway.config.models import GatewayConfig
from gateway.config.values import Address, ControllerUrl
from gateway.server.reloader import Source
from gateway.server.self_signed import SelfSigned


@dataclass
class _Supervisor:
    """Stands in for the real one; announces as if everything were listening."""

    configs: list[GatewayConfig] = field(default_factory=list)

    sources: list[Source] = field(default_factory=list)
    inherited: list[int | None] = field(default_factory=list)

    def __call__(
        self,
        source: Source,
        *,
        announce: Callable[[], None] | None = None,
        inherited: int | None = None,
    ) -> int:
        self.sources.append(source)
        self.inherited.append(inherited)
        self.configs.append(source.load(set()).config)
        if announce is not None:
            announce()
        return 7


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Supervisor:
    made = _Supervisor()
    monkeypatch.setattr("gateway.server.program.run_supervisor", made)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return made


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["run", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_with_a_file(supervisor: _Supervisor, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("listeners: [{address: '127.0.0.1:1'}]\ncontrollers: {a: {url: 'https://h'}}\n")
    assert _run("-c", str(path)) == (7, "", "")
    assert list(supervisor.configs[0].controllers) == ["a"]


def test_without_a_file(supervisor: _Supervisor, tmp_path: Path) -> None:
    status, out, err = _run(
        "--controller", "http://jenkins.lan:8080/ci", "--listen", "127.0.0.1:9443"
    )
    assert (status, err) == (7, "")
    (config,) = supervisor.configs
    (listener,) = config.listeners
    assert str(listener.address) == "127.0.0.1:9443"
    assert listener.tls is not None
    assert listener.tls.certificates[0].certificate == tmp_path / "state" / "self-signed.crt"
    assert listener.tls.certificates[0].certificate.exists()
    assert config.state_dir == tmp_path / "state"
    assert str(config.controllers["main"].url) == "http://jenkins.lan:8080/ci/"
    (line,) = [line for line in out.splitlines() if "java -jar" in line]
    assert "-url https://127.0.0.1:9443/ci/ " in line
    # Again: the same certificate, so that agents that trust it still do.
    again = _run("--controller", "http://jenkins.lan:8080/ci", "--listen", "127.0.0.1:9443")
    assert again == (7, out, "")


def test_the_default_listener_is_announced_by_name(
    supervisor: _Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.server.self_signed.own_names", lambda: ("gw.example.com", "localhost")
    )
    status, out, _ = _run("--controller", "http://h")
    assert status == 7
    assert str(supervisor.configs[0].listeners[0].address) == "0.0.0.0:8443"
    assert "URL          https://gw.example.com:8443/\n" in out


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--controller", "jenkins"], 1, '--controller: found "jenkins"; allowed: an http'),
        (["--controller", "http://h", "--listen", "8443"], 1, '--listen: found "8443"; allowed'),
        (["--controller", "http://h", "--listen", "h:0"], 1, "a port from 1 to 65535"),
        (["--listen", "127.0.0.1:1"], 2, "--listen needs --controller"),
        (["-c", "x.yaml", "--controller", "http://h"], 2, "exclude each other"),
        (["-c", "/none.yaml"], 1, "/none.yaml: cannot be read"),
    ],
)
def test_mistakes(supervisor: _Supervisor, arguments: list[str], status: int, text: str) -> None:
    found, out, err = _run(*arguments)
    assert (found, out) == (status, "")
    assert text in err
    assert supervisor.configs == []


def test_a_state_folder_that_cannot_be_made(
    supervisor: _Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file" / "state"))
    status, _, err = _run("--controller", "http://h")
    assert status == 1
    assert "cannot keep a certificate here: not a directory. Set STATE_DIRECTORY" in err


def test_the_command_line_for_agents() -> None:
    signed = SelfSigned(
        Path("/var/lib/my gateway/a.crt"), Path("/k"), "AB:CD", datetime(2028, 9, 3, tzinfo=UTC)
    )
    text = announcement(
        ControllerUrl("http", "jenkins.lan", 8080, "/ci"),
        outside=Address("2001:db8::1", 8443),
        signed=signed,
        agent_port="jenkins.lan:50000, key SHA256:abc",
    )
    assert "agent port   jenkins.lan:50000, key SHA256:abc" in text
    (line,) = [line for line in text.splitlines() if "java -jar" in line]
    assert shlex.split(line) == [
        "java",
        "-jar",
        "agent.jar",
        "-url",
        "https://[2001:db8::1]:8443/ci/",
        "-webSocket",
        "-name",
        "NODE",
        "-secret",
        "SECRET",
        "-cert",
        "$(cat '/var/lib/my gateway/a.crt')",
    ]
    assert "AB:CD" in text
    assert "until 2028-09-03" in text


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.stdout == f"remoting-gateway {gateway.__version__}\n"


def test_as_an_upgrade_runs_it(
    supervisor: _Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the arguments that a source says of itself; nothing is printed a second time."""
    path = tmp_path / "gateway.yaml"
    path.write_text("listeners: [{address: '127.0.0.1:1'}]\ncontrollers: {a: {url: 'https://h'}}\n")
    probed: list[int] = []
    monkeypatch.setattr(
        "gateway.server.upgrade.probe", lambda source, descriptor: probed.append(descriptor)
    )
    single = ("--controller", "http://jenkins.lan:8080/ci", "--listen", "127.0.0.1:9443")
    for arguments in (("-c", str(path)), single):
        _run(*arguments)
        assert supervisor.sources[-1].arguments == ("run", *arguments)
        assert _run(*arguments, "--inherited", "5") == (7, "", "")
        assert supervisor.inherited[-1] == 5
        assert _run(*arguments, "--probe", "6") == (0, "", "")
    assert probed == [6, 6]
    assert len(supervisor.sources) == 4
    assert "--probe" not in _run("--help")[1]


def test_an_upgrade_loads_its_file_where_it_can_fall_back(
    supervisor: _Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before the supervisor is there: workers hang on it."""
    monkeypatch.setattr(
        "gateway.server.program.run_supervisor", lambda source, *, inherited: inherited
    )
    path = tmp_path / "gateway.yaml"
    path.write_text("nonsense")
    assert _run("-c", str(path), "--inherited", "5") == (5, "", "")
    assert _run("-c", str(path))[0] == 1
