"""The command lines that README, docs and the examples' own comments show.

Owns: finding them, and taking a line apart into commands. What each command is worth is for
``test_commands`` (ours) and ``programs`` (everybody else's).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.pages import PAGES, ROOT, Block, blocks_of, code_spans, prose_of

# Examples that begin with how to use them.
COMMENTED: Final = (
    ROOT / "deploy/Dockerfile",
    ROOT / "deploy/compose/compose.yaml",
    *sorted((ROOT / "deploy/kubernetes").rglob("kustomization.yaml")),
)
_SHELL: Final = (None, "", "sh")
_SEPARATORS: Final = frozenset({"&&", "||", "|", ";", ">", ">>", "<"})
# What runs another command: our program has to be right behind any of them, too.
_RUNNERS: Final = re.compile(r"(?:sudo -u \S+) ")
# "[NODE]" may be left out.
_OPTIONAL: Final = re.compile(r"[\[\]]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it would be typed. ``whole``: of a block; in prose, a part of it may stand."""

    where: str
    text: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"

    @property
    def commands(self) -> list[list[str]]:
        """Return the words of each command in it."""
        return list(parts(_RUNNERS.sub("", self.text)))


def parts(line: str) -> Iterator[list[str]]:
    """Yield the commands of a line, as words. Raises ValueError for an open quotation mark."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    is_target = False  # of a redirection
    for word in lexer:
        if word in _SEPARATORS:
            if words:
                yield words
            words, is_target = [], word in {">", ">>", "<"}
        elif is_target:
            is_target = False
        else:
            words.append(word)
    if words:
        yield words


def is_shell(block: Block) -> bool:
    """Say whether a block may hold commands, by its language."""
    return block.language in _SHELL


def lines_of(block: Block) -> list[Line]:
    """Return a block's lines as they would be typed: continued ones in one."""
    where = str(block.page.relative_to(ROOT))
    text = re.sub(r"\\\n\s*", "", block.text)
    return [Line(where, line.strip(), True) for line in text.splitlines() if line.strip()]


def spans_of(page: Path) -> list[Line]:
    """Return the code in a page's prose, commands or not."""
    where = str(page.relative_to(ROOT))
    return [Line(where, _OPTIONAL.sub(" ", each), False) for each in code_spans(prose_of(page))]


def comments_of(path: Path) -> list[Line]:
    """Return the comments at the beginning of an example, commands or not."""
    where = str(path.relative_to(ROOT))
    head = re.match(r"(?:#.*\n)*", path.read_text("utf-8"))
    assert head is not None
    return [
        Line(where, line.strip("# "), True) for line in head[0].splitlines() if line.strip("# ")
    ]


def every_line() -> Iterator[Line]:
    """Yield all that may be commands. Blocks that are something else are among them."""
    for page in PAGES:
        for block in blocks_of(page):
            if is_shell(block):
                yield from lines_of(block)
        yield from spans_of(page)
    for path in COMMENTED:
        yield from comments_of(path)
