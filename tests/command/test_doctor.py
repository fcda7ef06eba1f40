from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.command import cli
from gateway.doctor.causes import Cause
from gateway.doctor.findings import Report, error
from gateway.doctor.question import Question
from tests.e2e.programs import free_ports

SECRET = "5ec7e7" * 10


def doctor(*arguments: str, send: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments], input=send)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Answer every question with one finding, and return the questions."""
    questions: list[Any] = []

    async def examine(question: object, config: object, observer: object) -> Report:
        questions.append((question, config))
        found = error(Cause.SSO, "a login page", seen="s", meaning="m", remedy="r")
        return Report("https://ci/", (found,))

    monkeypatch.setattr("gateway.doctor.examine.examine", examine)
    return questions


def test_the_options_make_the_question(asked: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    result = doctor(
        *("https://ci.example.com/jenkins", "--node", "a", "--secret-file", str(file)),
        *("--hold", "10m", "--no-session", "--tcp", "--remoting", "3107", "--connect-to", "x:8443"),
    )
    assert result.exit_code == 2
    assert "1. error: a login page" in result.output
    ((question, config),) = asked
    assert isinstance(question, Question)
    assert (question.url, config) == ("https://ci.example.com/jenkins/", None)
    assert (question.hold, question.session, question.tcp) == (600, False, True)
    assert (question.connect_to, question.remoting) == (("x", 8443), "3107")
    assert question.secret is not None
    assert question.secret.reveal() == SECRET
    assert SECRET not in repr(question)


def test_the_secret_may_come_from_standard_input(asked: list[Any]) -> None:
    doctor("https://ci/", "--node", "a", "--secret-file", "-", "--hold", "0", send=f"{SECRET}\n")
    ((question, _),) = asked
    assert question.secret.reveal() == SECRET
    assert question.hold == 0


def test_a_users_token(asked: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t0ken")
    doctor("https://ci/", "--user", "me", "--token-file", str(file))
    ((question, _),) = asked
    assert question.authorization.reveal() == "me:t0ken"


def test_json_is_all_that_is_written(asked: list[Any]) -> None:
    result = doctor("https://ci/", "--json")
    assert json.loads(result.stdout)["findings"][0]["cause"] == "sso"
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name the URL"),
        (("ftp://ci/",), "allowed: an address such as"),
        (("https://ci/wsagents/",), "the URL that agents get"),
        (("https://ci/", "--hold", "long"), "--hold"),
        (("https://ci/", "--user", "me"), "go together"),
        (("https://ci/", "--secret-file", "-"), "needs --node"),
        (("https://ci/", "--ca-file", "/none.pem"), "no such file"),
        (("https://ci/", "--connect-to", "x"), 'found "x"'),
    ],
)
def test_options_that_cannot_be(asked: list[Any], arguments: tuple[str, ...], words: str) -> None:
    result = doctor(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert asked == []


def test_a_real_examination() -> None:
    (port,) = free_ports(1)
    result = doctor(f"http://127.0.0.1:{port}/")
    assert result.exit_code == 2
    assert f"1. error: nothing listens on port {port}" in result.output
