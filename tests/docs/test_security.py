"""The threat tables of docs/security.md: each test exists, each setting has the default it says."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

from gateway.config.reference import configuration_page
from tests.docs.pages import ROOT, code_spans, text_of

_ROW = re.compile(r"^\| (?!attack|-)(.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)
ROWS = _ROW.findall(text_of(ROOT / "docs/security.md"))


@lru_cache
def defaults() -> dict[str, str]:
    """Return dotted key -> default, as on the page of the configuration."""
    found: dict[str, str] = {}
    section = ""
    for line in configuration_page().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").strip("`")
        elif (row := re.match(r"\| `([^`]+)` \| .+? \| (.+?) \| ", line)) is not None:
            key = row[1] if section == "Top level" else f"{section}.{row[1]}"
            found[key] = row[2]
    return found


@lru_cache
def _functions_in(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_tables_are_read() -> None:
    assert len(ROWS) > 40
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_a_test_proves_it(row: tuple[str, ...]) -> None:
    (named,) = code_spans(row[4])
    path, _, name = named.partition("::")
    assert name.startswith("test_")
    assert name in _functions_in(ROOT / path)


@pytest.mark.parametrize("row", [row for row in ROWS if row[2] != "-"], ids=lambda row: str(row[0]))
def test_the_setting_has_the_default(row: tuple[str, ...]) -> None:
    (key,) = code_spans(row[2])
    assert defaults()[key] == row[3]
