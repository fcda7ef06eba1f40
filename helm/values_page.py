"""VALUES.md: every value of the chart with its default and what its comment says.

Owns: how values.yaml is commented. What begins with ``# --`` stands right above its key and goes on
in the comment's next lines; a key whose value has keys of its own may have one, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

_HEAD: Final = """\
# Values

Made from `values.yaml` by `python -m helm.generate`. What may stand in `config` is the gateway's
own: `remoting-gateway schema` lists all of it.

| key | default | what it is |
|---|---|---|
"""
_COMMENT: Final = re.compile(r"\s*#\s?")


@dataclass(frozen=True, slots=True)
class Row:
    """A value. ``default`` is None for one that has values of its own."""

    path: str
    default: str | None
    says: str


def rows_of(text: str) -> list[Row]:
    """Return the values of a commented values.yaml, in its order."""
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return list(_rows(root, text.splitlines(), ""))


def _rows(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Row]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        says = _comment_above(key.start_mark.line, lines)
        # What is written in one line is one value.
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            if says:
                yield Row(path, None, says)
            yield from _rows(value, lines, f"{path}.")
        else:
            yield Row(path, json.dumps(_plain(value)), says)


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def _comment_above(line: int, lines: list[str]) -> str:
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    found = [_COMMENT.sub("", each, count=1) for each in lines[first:line]]
    for index, each in enumerate(found):
        if each.startswith("-- "):
            return " ".join([each.removeprefix("-- "), *found[index + 1 :]])
    return ""


def values_page(text: str) -> str:
    """Return VALUES.md for a commented values.yaml."""
    lines = []
    for row in rows_of(text):
        default = "" if row.default is None else f"`{row.default}`"
        cells = (f"`{row.path}`", default, row.says)
        lines.append(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |\n")
    return _HEAD + "".join(lines)
