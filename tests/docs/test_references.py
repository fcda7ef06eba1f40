"""What README and docs point at is there: links, files of the project, sections by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import PAGES, ROOT, anchors_of, code_spans, prose_of, text_of

_FOLDERS: Final = "benchmarks|deploy|docs|gateway|helm|tests"
_FILE: Final = re.compile(rf"(?:{_FOLDERS})/[\w./{{}},*-]*")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
# `docs/x.md`, "Section"
_SECTION: Final = re.compile(r"`(docs/[\w/-]+\.md)`,\s+\"([^\"]+)\"")
# "Section" in `x.md`
_SECTION_IN: Final = re.compile(r"\"([^\"]+)\"\s+in\s+`(?:docs/)?([\w-]+\.md)`")
_HERE: Final = re.compile(r"\b[Ss]ee\s+\"([^\"]+)\"(?!\s+in\s)")


def _headings(page: Path) -> set[str]:
    return set(re.findall(r"^#{1,6} (.+)$", text_of(page), re.M))


def _is_heading(name: str, page: Path) -> bool:
    """Say whether a section is named, if only by the part of its heading before a colon."""
    return any(name in (each, each.partition(":")[0]) for each in _headings(page))


def _expand(pattern: str) -> list[str]:
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        return [pattern]
    return [
        each
        for choice in found[1].split(",")
        for each in _expand(pattern[: found.start()] + choice + pattern[found.end() :])
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(text_of(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        if anchor:
            assert anchor in anchors_of(leads_to), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    for span in code_spans(prose_of(page)):
        if _FILE.fullmatch(span):
            for each in _expand(span):
                assert (ROOT / each).exists() or list(ROOT.glob(each)), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sections_that_are_named_exist(page: Path) -> None:
    for path, name in _SECTION.findall(text_of(page)):
        assert _is_heading(name, ROOT / path), f"{path}: {name}"
    for name, path in _SECTION_IN.findall(text_of(page)):
        assert _is_heading(name, ROOT / "docs" / path), f"{path}: {name}"
    for name in _HERE.findall(text_of(page)):
        assert _is_heading(name, page), name


def test_the_readme_lists_every_page() -> None:
    index = text_of(ROOT / "README.md").partition("\n## More\n")[2]
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"| `docs/{page.name}` |" in index
