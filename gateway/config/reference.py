"""The reference of the configuration, made from the schema that ``schema`` prints.

Owns: the form of the page, and how the schema's types are said in words. Must not know: any key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gateway.config.schema import config_schema
from gateway.config.values import SIZE_PATTERN

Schema: TypeAlias = dict[str, Any]

_INTRODUCTION: Final = """# Configuration

Every key of `gateway.yaml`, with its default and the reason for it. `remoting-gateway schema`
prints the same for editors (JSON Schema); `remoting-gateway check` reports mistakes with file, line
and key. Keys that are not listed here are errors.

Durations are written `500ms`, `20s`, `5m`, `1h`, `2d`; sizes `512B`, `64KiB`, `16MiB`, `1GiB`.
Files are relative to the configuration file. `${NAME}` and `${NAME:-default}` take values from the
environment; `$$` is a `$`. In the headings, `NAME` is a name of your choice and `[]` each entry of
a list. A default that is a dash is nothing, or what the text says.
"""
_HEAD: Final = "| key | value | default | meaning |\n|---|---|---|---|"
# What a pattern of the schema stands for. All others are told as "text".
_PATTERNS: Final = {
    SIZE_PATTERN: "size",
    r"^\d+(\.\d+)?(ms|s|m|h|d)$": "duration",
}
_FORMATS: Final = {"path": "path", "date-time": "time, as `2026-12-31T18:00:00+01:00`"}
_LONG_UNITS: Final = (("d", 86400), ("h", 3600))


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping of the file: where it is, and its schema."""

    path: str
    schema: Schema


def configuration_page() -> str:
    """Return the reference of every key, in Markdown."""
    root = config_schema()
    sections = tuple(_sections("", root, root["$defs"], set()))
    places = {each.schema["title"]: each.path for each in sections}
    return "\n".join([_INTRODUCTION, *(_section(each, places) for each in sections)])


def _sections(path: str, schema: Schema, defs: Schema, seen: set[str]) -> Iterator[_Section]:
    """Yield a mapping and those within it, each kind once, at the first place that has it."""
    if schema["title"] in seen:
        return
    seen.add(schema["title"])
    yield _Section(path, schema)
    for key, value in schema["properties"].items():
        for suffix, name in _mappings(value):
            yield from _sections(_join(path, key) + suffix, defs[name], defs, seen)


def _mappings(value: Schema) -> Iterator[tuple[str, str]]:
    """Yield the mappings that a key may hold: what comes behind its path, and the kind's name."""
    if "$ref" in value:
        yield "", _name(value)
    for each in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _mappings(each)
    if "items" in value:
        yield from (("[]" + suffix, name) for suffix, name in _mappings(value["items"]))
    for inner in _named(value):
        yield from ((".NAME" + suffix, name) for suffix, name in _mappings(inner))


def _named(value: Schema) -> list[Schema]:
    """Return what a mapping with names of the operator's choice holds under each."""
    free = value.get("additionalProperties")
    return [*value.get("patternProperties", {}).values(), *([free] if free else [])]


def _section(section: _Section, places: dict[str, str]) -> str:
    heading = f"## `{section.path}`\n" if section.path else "## Top level\n"
    required = section.schema.get("required", ())
    rows = [
        (
            f"`{key}`",
            _words(value, places),
            _default(value, is_required=key in required),
            _prose(value.get("description") or _described(value)),
        )
        for key, value in section.schema["properties"].items()
    ]
    lines = ["| " + " | ".join(row).replace("\n", " ") + " |" for row in rows]
    return "\n".join([heading, section.schema["description"] + "\n", _HEAD, *lines, ""])


def _described(value: Schema) -> str:
    """Return what is said of the mapping that a key holds, where nothing is said of the key."""
    return str(config_schema()["$defs"][_name(value)]["description"])


def _default(value: Schema, *, is_required: bool) -> str:
    if is_required:
        return "required"
    found = value.get("default")
    if found is None:
        return "-"
    if isinstance(found, bool):
        return f"`{str(found).lower()}`"
    if isinstance(found, list):
        return f"`[{', '.join(found)}]`"
    return f"`{_short(str(found))}`"


def _short(text: str) -> str:
    """Write a duration of whole hours or days as people do; anything else stays."""
    found = re.fullmatch(r"([1-9][0-9]*)s", text)
    for unit, seconds in _LONG_UNITS if found else ():
        if int(text[:-1]) % seconds == 0:
            return f"{int(text[:-1]) // seconds}{unit}"
    return text


def _words(value: Schema, places: dict[str, str]) -> str:
    """Say what a key may hold."""
    if "$ref" in value:
        path = places[_name(value)]
        return f"[`{path}`](#{_anchor(path)})"
    choices = [*value.get("anyOf", ()), *value.get("oneOf", ())]
    if choices:
        said = [_words(each, places) for each in choices if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(said))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    return _typed(value, places)


def _typed(value: Schema, places: dict[str, str]) -> str:
    kind = value["type"]
    if kind == "array":
        return f"list of {_words(value['items'], places)}"
    if kind == "object":
        inner = [_words(each, places) for each in _named(value)]
        fixed = ", ".join(f"{key}: ..." for key in value.get("properties", ()))
        return f"names with {inner[0]} each" if inner else f"`{{{fixed}}}`"
    if kind == "boolean":
        return "`true`, `false`"
    if kind == "integer":
        return _number(value)
    if value.get("contentEncoding") == "base64":
        return "base64"
    if "examples" in value:
        return "text, as " + ", ".join(f"`{each}`" for each in value["examples"])
    return _PATTERNS.get(value.get("pattern", ""), _FORMATS.get(value.get("format", ""), "text"))


def _number(value: Schema) -> str:
    if "maximum" in value:
        return f"{value['minimum']} to {value['maximum']}"
    return f"{value['minimum']} or more"


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _anchor(heading: str) -> str:
    """Return the anchor that Markdown viewers give a heading."""
    return re.sub(r"[^a-z0-9_-]", "", heading.lower())


def _prose(text: str) -> str:
    """Write text so that Markdown shows it as it is; what stands between backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([<*|])", r"\\\1", part) for part in parts
    )
