"""A YAML file as plain values that remember their lines.

Owns: reading the text (UTF-8, ``${NAME}``, ``${NAME:-default}``), the few kinds of scalars there
are, and refusing what surprises people: duplicate keys, tags, anchors, tabs, several documents.
Words such as ``on`` and ``no``, octal-looking numbers and ``1:30`` stay text.

Must not know: which keys exist. YAML's syntax is PyYAML's business; only its node tree is used
here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import yaml

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Location: TypeAlias = tuple[str | int, ...]
"""Where a value is: ``("listeners", 0, "address")``."""

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_SUBSTITUTION: Final = re.compile(r"\$(?:(\$)|\{([^}]*)(\})?)")
_REFERENCE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.ASCII | re.DOTALL)
_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "null": None,
    "~": None,
    "true": True,
    "false": False,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, or worth a warning, at one place of the file."""

    location: Location
    text: str
    line: int | None = None


@dataclass(slots=True)
class Document:
    """What a file holds: dict, list, str, int, bool and None, and the line of each of them."""

    source: str
    data: object = None
    lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """Return the line of the value, or of the nearest thing around it that is in the file."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.lines:
                return self.lines[location[:end]]
        return 1

    def value_at(self, location: Location) -> object:
        """Return what the file says there; None where it says nothing."""
        value = self.data
        for step in location:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def report(self, problem: Problem) -> str:
        """Write a problem as ``file:line: key: text``."""
        line = problem.line or self.line_of(problem.location)
        key = format_location(problem.location)
        return (
            f"{self.source}:{line}: {key}: {problem.text}"
            if key
            else (f"{self.source}:{line}: {problem.text}")
        )

    def fail(self, problems: Iterable[Problem]) -> ConfigError:
        """Make the one error for all problems, in the order of the file."""
        ordered = sorted(problems, key=lambda p: p.line or self.line_of(p.location))
        return ConfigError("\n".join(self.report(problem) for problem in ordered))


def format_location(location: Location) -> str:
    """Write ``("listeners", 0, "address")`` as ``listeners[0].address``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_document(path: Path, *, environ: Mapping[str, str] = os.environ) -> Document:
    """Read a YAML file whose top level is a mapping; ConfigError says what is wrong and where."""
    source = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(f"{source}: cannot be read: {reason}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{source}:{line}: found the byte 0x{raw[error.start]:02x}; allowed: UTF-8."
            " Save the file in that encoding."
        ) from None
    return parse_document(text, source=source, environ=environ)


def parse_document(text: str, *, source: str, environ: Mapping[str, str]) -> Document:
    """Read YAML text; ``source`` names it in errors. Raises ConfigError."""
    node = _compose(text, source)
    if node is None:
        raise ConfigError(f"{source}: the file is empty. `remoting-gateway schema` lists the keys.")
    builder = _Builder(Document(source), environ)
    builder.document.data = builder.build(node, ())
    if builder.problems:
        raise builder.document.fail(builder.problems)
    if not isinstance(builder.document.data, dict):
        line = node.start_mark.line + 1
        raise ConfigError(
            f"{source}:{line}: found {_kind(node)}; allowed: a mapping (key: value) of listeners,"
            " controllers and so on"
        )
    return builder.document


class _Loader(yaml.SafeLoader):
    """Composes nodes without guessing types: a scalar is text until ``_Builder`` looks at it."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse anchors: they hide where a value comes from, and can grow without bound."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not supported; repeat the value",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{source}:{line}: found the control character U+{error.character:04X}; YAML forbids it"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: {_explain_syntax(error)}") from None
    except RecursionError:
        raise ConfigError(f"{source}: brackets are nested too deeply") from None


def _explain_syntax(error: yaml.MarkedYAMLError) -> str:
    text = " ".join(part for part in (error.problem, error.context) if part)
    if "'\\t'" in text:
        return "found a tab; YAML allows only spaces for indentation"
    if "expected a single document" in text:
        return "found a second document (---); allowed: one"
    if error.problem and error.problem.startswith("anchors"):
        return error.problem
    column = error.problem_mark.column + 1 if error.problem_mark else 0
    return f"not YAML: {text} (column {column}). Check indentation, quotes and colons around here."


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "text"


class _Builder:
    """Turns nodes into values, noting lines and problems on the way."""

    __slots__ = ("document", "environ", "problems")

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, location: Location) -> object:
        """Return the value of a node; what is wrong with it goes to ``problems``."""
        line = node.start_mark.line + 1
        self.document.lines.setdefault(location, line)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in {
            "str",
            "seq",
            "map",
        }:
            self._note(location, line, f"found the tag {node.tag}; allowed: no tags")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if not isinstance(node, yaml.ScalarNode):
            return [self.build(item, (*location, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, location, line)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._note(location, line, f"found {_kind(key)} as a key; allowed: a word")
                continue
            name = str(key.value)
            here = (*location, name)
            if name in found:
                first = self.document.lines[here]
                self._note(here, line, f"found a second time; the first one is in line {first}")
                continue
            self.document.lines[here] = line
            found[name] = self.build(value, here)
        return found

    def _scalar(self, node: yaml.ScalarNode, location: Location, line: int) -> object:
        try:
            text = substitute(str(node.value), self.environ)
        except ValueError as error:
            self._note(location, line, str(error))
            return None
        if node.style is not None:  # quoted or a block: text, whatever it looks like
            return text
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if _INTEGER.fullmatch(text) and len(text) < 20 else text

    def _note(self, location: Location, line: int, text: str) -> None:
        self.problems.append(Problem(location, text, line))


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` (also for an empty NAME); ``$$`` is one ``$``.

    Raises ValueError when NAME is not set and has no default, or when it is no name.
    """

    def replacement(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        reference = _REFERENCE.fullmatch(match[2])
        if reference is None or match[3] is None:
            raise ValueError(
                f'found "{match[0]}"; allowed: ${{NAME}} or ${{NAME:-default}}.'
                " Write $$ for a dollar sign itself."
            )
        name, default = reference[1], reference[2]
        value = environ.get(name, "")
        if default is not None:
            return value or default
        if name not in environ:
            raise ValueError(
                f"the environment variable {name} is not set. Set it, or give a default:"
                f" ${{{name}:-default}}"
            )
        return value

    return _SUBSTITUTION.sub(replacement, text)
