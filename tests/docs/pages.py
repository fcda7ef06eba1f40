"""The documentation, as tests read it: pages, their code blocks, links and headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S
)
_INDENTED: Final = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}.*\n(?:\n(?= {4}))?)+", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block. ``language`` is None for an indented one; ``line``: its first, from 1."""

    page: Path
    line: int
    language: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@lru_cache
def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text("utf-8")


def prose_of(page: Path) -> str:
    """Return a page's text with each code block as so many empty lines."""
    text = text_of(page)
    for pattern in (_FENCE, _INDENTED):
        text = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
    return text


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, fenced and indented."""
    text = text_of(page)
    found = [
        Block(page, _line(text, each.start("text")), each["language"], each["text"])
        for each in _FENCE.finditer(text)
    ]
    rest = _FENCE.sub(lambda each: "\n" * each[0].count("\n"), text)
    found += [
        Block(page, _line(rest, each.start()), None, re.sub("^ {4}", "", each[0], flags=re.M))
        for each in _INDENTED.finditer(rest)
    ]
    return found


def anchors_of(page: Path) -> list[str]:
    """Return the anchors that viewers give to a page's headings."""
    headings = re.findall(r"^#{1,6} (.+)$", prose_of(page), re.M)
    return [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


def code_spans(text: str) -> list[str]:
    """Return what stands between single backticks, line ends as spaces."""
    return [re.sub(r"\s+", " ", each) for each in re.findall(r"`([^`]+)`", text)]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
