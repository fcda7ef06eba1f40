"""``remoting-gateway reference``: every topic, printed and as it is kept in docs/."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.command import cli
from gateway.command.reference import TOPICS

FOLDER = Path(__file__).parents[2] / "docs/reference"


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_a_topic_is_printed_and_kept_in_docs(topic: str) -> None:
    result = CliRunner().invoke(cli, ["reference", topic])
    assert result.exit_code == 0
    assert result.stdout == (FOLDER / f"{topic}.md").read_text(), "./dev reference writes it anew"


def test_docs_hold_no_other_page() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(TOPICS)


def test_all_are_written_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["reference", "--write", str(tmp_path / "new")])
    assert result.exit_code == 0
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(TOPICS)


def test_without_a_topic_they_are_named() -> None:
    result = CliRunner().invoke(cli, ["reference"])
    assert result.exit_code == 2
    assert "metrics" in result.stderr
