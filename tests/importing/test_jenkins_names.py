"""Jenkins' own names."""

from __future__ import annotations

from gateway.importing.jenkins_names import AGENTS, PARTS, ROOT, spell


def test_each_list_is_within_the_next() -> None:
    assert AGENTS < PARTS < ROOT


def test_spelling() -> None:
    assert spell("/ci/PLUGINMANAGER/x") == "/ci/pluginManager/x"
    assert spell("/scripttext") == "/scriptText"
    assert spell("") == ""


def test_no_two_names_are_told_apart_by_case_alone() -> None:
    assert len({name.lower() for name in ROOT}) == len(ROOT)
