"""``demo`` hands over to the story and returns its status."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gateway.command import cli


@pytest.mark.parametrize("stay", [False, True])
def test_demo(monkeypatch: pytest.MonkeyPatch, *, stay: bool) -> None:
    called: list[bool] = []

    def run_demo(*, stay: bool) -> int:
        called.append(stay)
        return 3

    monkeypatch.setattr("gateway.demo.story.run_demo", run_demo)
    result = CliRunner().invoke(cli, ["demo", "--stay"] if stay else ["demo"])
    assert result.exit_code == 3
    assert called == [stay]
