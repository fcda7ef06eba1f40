"""``reload``, ``drain``, ``status``, ``upgrade``: what is asked, printed, and returned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.command import cli, operate
from gateway.errors import ConfigError

Answers = Callable[..., None]

STATUS: dict[str, Any] = {
    "state": "serving",
    "ready": True,
    "version": "1.2.3",
    "process": 4711,
    "started": "2026-01-01T00:00:00+00:00",
    "incarnation": 1,
    "upgraded": True,
    "generation": 5,
    "state_dir": "/var/lib/gw",
    "configuration": "run -c gateway.yaml",
    "last_reload": None,
    "listeners": ["0.0.0.0:8443"],
    "sessions": 3,
    "connections": 4,
    "restarts": 0,
    "workers": [
        {
            "worker": 4712,
            "slot": 0,
            "state": "serving",
            "incarnation": 1,
            "generation": 5,
            "started": "2026-01-01T00:00:01+00:00",
            "linger_until": None,
            "sessions": 3,
            "connections": None,
        }
    ],
}
FAILED = {
    "at": "2026-01-02T00:00:00+00:00",
    "trigger": "SIGHUP",
    "generation": 5,
    "reason": "gateway.yaml:3: limits: no",
    "ok": False,
}


class Gateway:
    """Stands in for a gateway that runs; ``asked`` are the folders and questions."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any] | ConfigError] = []
        self.asked: list[tuple[Path, str]] = []

    async def ask(self, folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        self.asked.append((folder, question["do"]))
        answer = self.answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr("gateway.server.control_socket.ask", made.ask)
    monkeypatch.setattr(operate, "_LOOK", 0.001)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


def here(command: str, *arguments: str) -> Result:
    return run(command, "--state-dir", "/var/lib/gw", *arguments)


# -- where -----------------------------------------------------------------------------------------


def test_the_folder_is_that_of_the_configuration(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/run/state")
    path = tmp_path / "gateway.yaml"
    for text, folder in (
        ("state_dir: kept\nlisteners: []\n", tmp_path / "kept"),
        ("state_dir: /kept\nnonsense: 1\n", Path("/kept")),  # whatever else is wrong
        ("nonsense: 1\n", Path("/run/state")),
    ):
        path.write_text(text)
        gateway.answers.append({"ok": True, "status": STATUS})
        assert run("status", "-c", str(path)).exit_code == 0
        assert gateway.asked[-1] == (folder, "status")


def test_a_gateway_without_a_file(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/run/state")
    monkeypatch.delenv("REMOTING_GATEWAY_CONFIG", raising=False)
    monkeypatch.setattr("gateway.command.options._PLACES", (tmp_path / "none.yaml",) * 2)
    gateway.answers.append({"ok": True, "status": STATUS})
    assert run("status").exit_code == 0
    assert gateway.asked == [(Path("/run/state"), "status")]


def test_a_file_that_cannot_be_read(gateway: Gateway, tmp_path: Path) -> None:
    result = run("reload", "-c", str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert "none.yaml: cannot be read" in result.stderr
    assert run("status", "-c", "a", "--state-dir", "b").exit_code == 2
    assert gateway.asked == []


@pytest.mark.parametrize("command", ["reload", "drain", "status", "upgrade"])
def test_no_gateway_runs(gateway: Gateway, command: str) -> None:
    gateway.answers.append(ConfigError("/var/lib/gw/control.sock: no gateway runs here."))
    result = here(command)
    assert result.exit_code == 3
    assert result.stderr == "/var/lib/gw/control.sock: no gateway runs here.\n"


@pytest.mark.parametrize("command", ["reload", "drain", "status", "upgrade"])
def test_it_refuses(gateway: Gateway, command: str) -> None:
    gateway.answers.append({"ok": False, "reason": "the gateway is stopping"})
    result = here(command)
    assert (result.exit_code, result.stderr) == (1, "the gateway is stopping\n")


# -- one by one ------------------------------------------------------------------------------------


def test_reload(gateway: Gateway) -> None:
    gateway.answers.append({"ok": True, "generation": 6, "reason": None})
    result = here("reload")
    assert (result.exit_code, result.stdout) == (0, "reloaded: configuration 6 is in force\n")


def test_drain(gateway: Gateway) -> None:
    gateway.answers.append({"ok": True, "within_s": 310.0, "status": STATUS})
    result = here("drain")
    assert (result.exit_code, gateway.asked) == (0, [(Path("/var/lib/gw"), "drain")])
    assert result.stdout == "draining: 3 sessions, 4 connections; at most 310 s\n"


def test_drain_and_wait(gateway: Gateway) -> None:
    answer = {"ok": True, "status": STATUS}
    gateway.answers = [{**answer, "within_s": 1.0}, answer, answer, ConfigError("none")]
    assert here("drain", "--wait").exit_code == 0
    assert gateway.answers == []


def test_status_for_people(gateway: Gateway) -> None:
    gateway.answers.append({"ok": True, "status": {**STATUS, "last_reload": FAILED}})
    result = here("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "serving, ready: version 1.2.3, process 4711, since 2026-01-01T00:00:00+00:00",
        "listeners      0.0.0.0:8443",
        "admin          none",
        "sessions       3",
        "connections    4",
        "configuration  5, of run -c gateway.yaml",
        "last reload    2026-01-02T00:00:00+00:00 (SIGHUP) FAILED: gateway.yaml:3: limits: no",
        "",
        "WORKER   SLOT  STATE      SESSIONS  CONNECTIONS  CONFIGURATION  SINCE",
        "4712     0     serving    3         ?            5              2026-01-01T00:00:01+00:00",
    ]


def test_status_for_programs(gateway: Gateway) -> None:
    gateway.answers.append({"ok": True, "status": STATUS})
    assert json.loads(here("status", "--json").stdout) == STATUS


def test_status_of_one_that_is_not_ready(gateway: Gateway) -> None:
    found = {**STATUS, "ready": False, "state": "draining", "listeners": []}
    found["last_reload"] = {**FAILED, "ok": True, "reason": None}
    gateway.answers.append({"ok": True, "status": found})
    result = here("status")
    assert result.exit_code == 1
    assert result.stdout.startswith("draining, not ready: ")
    assert "listeners      none\n" in result.stdout
    assert "(SIGHUP) done\n" in result.stdout


def test_upgrade_waits_for_the_new_workers(gateway: Gateway) -> None:
    old, new = {**STATUS}, {**STATUS, "incarnation": 2, "upgraded": False}
    done = {**new, "upgraded": True, "version": "1.3"}
    done["workers"] = [
        {**STATUS["workers"][0], "state": "lingering"},
        {**STATUS["workers"][0], "sessions": 0},
    ]
    gateway.answers = [
        {"ok": True, "reason": None, "incarnation": 2},
        {"ok": True, "status": old},
        ConfigError("it is being replaced"),
        {"ok": True, "status": new},
        {"ok": True, "status": done},
    ]
    result = here("upgrade")
    assert result.exit_code == 0
    assert result.stdout == "upgraded to 1.3: 3 sessions stay with 1 old workers until they end\n"


def test_an_upgrade_whose_workers_fail(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "_UPGRADE", 0.05)
    new = {"ok": True, "status": {**STATUS, "incarnation": 2, "upgraded": False}}
    gateway.answers = [{"ok": True, "reason": None, "incarnation": 2}, *[new] * 1000]
    result = here("upgrade")
    assert result.exit_code == 1
    assert "the new workers do not serve" in result.stderr
    assert "the old ones go on" in result.stderr
