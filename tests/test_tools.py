"""Whether a missing program is noticed where it must be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tools import REQUIRE, WITHOUT, require_tool

MISSING = "no-such-program-anywhere"


def test_a_program_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", str(python.parent))
    assert Path(require_tool(python.name)) == python


@pytest.mark.parametrize("value", ["", "0"])
def test_a_missing_one_is_a_skip(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(REQUIRE, value)
    with pytest.raises(pytest.skip.Exception, match=f"{MISSING} is not installed"):
        require_tool(MISSING)


def test_where_they_are_required_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{MISSING} is not installed, and {REQUIRE}"):
        require_tool(MISSING)


def test_what_cannot_be_had_is_a_skip_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    monkeypatch.setenv(WITHOUT, f"other {MISSING}")
    with pytest.raises(pytest.skip.Exception):
        require_tool(MISSING)
