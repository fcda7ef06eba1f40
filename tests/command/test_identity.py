"""``identity``: what is shown, what is accepted, and when there is nothing to accept."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.agents.discovery import AgentPort, Discovery
from gateway.agents.identity import Pin, PinStore
from gateway.command import cli
from gateway.config.keys import fingerprint
from gateway.config.models import ControllerConfig
from gateway.config.values import Address
from gateway.errors import ControllerUnreachable

_FILE = """\
state_dir: state
listeners: [{address: "127.0.0.1:1"}]
controllers:
  main: {url: "http://127.0.0.1:8080"}
  sure: {url: "https://jenkins.lan"}
routes: [{id: a, controller: main}, {id: b, controller: sure, host: b}]
"""


@dataclass
class _Gateway:
    """A configuration with its pins, and the key the controller shows; None: it does not answer."""

    config: Path
    pins: PinStore
    shown: bytes | None = b"new"

    def run(self, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(cli, ["identity", *arguments, "-c", str(self.config)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Gateway:
    path = tmp_path / "gateway.yaml"
    path.write_text(_FILE)
    made = _Gateway(path, PinStore(tmp_path / "state"))

    async def agent_port(self: Discovery, name: str, controller: ControllerConfig) -> AgentPort:
        if made.shown is None:
            raise ControllerUnreachable(detail="nobody listens")
        return AgentPort(Address("jenkins.lan", 50000), made.shown or None, False, None)

    monkeypatch.setattr(Discovery, "agent_port", agent_port)
    return made


def test_show(gateway: _Gateway) -> None:
    status, out, err = gateway.run("show")
    assert (status, err) == (0, "")
    assert out == "main: nothing pinned yet\nsure: what its https url states\n"
    gateway.pins.accept("main", Pin(b"old", "test"))
    assert gateway.run("show")[1].startswith(f"main: {fingerprint(b'old')} (pinned)\n")


def test_show_a_damaged_pin(gateway: _Gateway) -> None:
    gateway.pins.accept("main", Pin(b"old", "test"))
    (path,) = (gateway.config.parent / "state" / "identities").iterdir()
    path.write_text("{")
    status, out, _ = gateway.run("show")
    assert status == 0
    assert "cannot be read" in out


@pytest.mark.parametrize("old", [None, b"old", b"damaged"])
def test_accept(gateway: _Gateway, old: bytes | None) -> None:
    if old is not None:
        gateway.pins.accept("main", Pin(old, "test"))
    if old == b"damaged":
        (path,) = (gateway.config.parent / "state" / "identities").iterdir()
        path.write_text("{")
    status, out, err = gateway.run("accept", "main")
    assert (status, err) == (0, "")
    assert f"pinned so far: {fingerprint(old) if old == b'old' else 'nothing'}\n" in out
    assert f"shown now:     {fingerprint(b'new')}\n" in out
    pin = gateway.pins.get("main")
    assert pin is not None
    assert pin.key == b"new"


@pytest.mark.parametrize(
    ("name", "shown", "text"),
    [
        ("mian", b"new", 'CONTROLLER: found "mian"; allowed: "main", "sure". Did you mean "main"?'),
        ("sure", b"new", "sure: nothing to accept, its key is not pinned at first sight but what"),
        ("main", None, "main: cannot ask http://127.0.0.1:8080/ for its key: "),
        ("main", b"", "main: http://127.0.0.1:8080/ states no key (X-Instance-Identity)"),
    ],
)
def test_nothing_to_accept(gateway: _Gateway, name: str, shown: bytes | None, text: str) -> None:
    gateway.pins.accept("main", Pin(b"old", "test"))
    gateway.shown = shown
    status, out, err = gateway.run("accept", name)
    assert (status, out) == (1, "")
    assert err.startswith(text)
    assert gateway.pins.get("main") == Pin(b"old", "test")


def test_without_a_file(gateway: _Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "other"))
    result = CliRunner().invoke(
        cli, ["identity", "accept", "main", "--controller", "http://127.0.0.1:8080"]
    )
    assert result.exit_code == 0
    assert PinStore(tmp_path / "other").get("main") is not None
    assert gateway.pins.get("main") is None


def test_a_state_folder_that_cannot_be_written(gateway: _Gateway) -> None:
    (gateway.config.parent / "state").write_text("")
    status, _, err = gateway.run("accept", "main")
    assert status == 1
    assert "cannot" in err
    assert base64.b64encode(b"new").decode() not in err
