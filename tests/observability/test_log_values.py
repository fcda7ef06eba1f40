"""Values that strangers send: no line is broken, no terminal obeys, nothing is endless."""

from __future__ import annotations

import io
import json

import pytest

from gateway.observability.logs import MAX_LINE, configure, get_logger

HOSTILE = {
    "control characters": "a\r\n\x00\x07\x7f\x85b",
    "an escape sequence": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "right to left": "\u202eexe.txt\u2066\u2069\u200f",
    "a forged line": 'x"}\n{"level": "error"}',
    "line separators": "a\u2028b\u2029c",
    "no Unicode": b"\xff\xfe\x80".decode("utf-8", "surrogateescape"),
    "300 characters": "n" * 300,
    "300 wide ones": "\U0001f600" * 300,
}


def line_of(*, as_json: bool, **fields: object) -> str:
    stream = io.StringIO()
    configure(json=as_json, stream=stream)
    get_logger("session").info("session started", **fields)
    return stream.getvalue()


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values(value: str) -> None:
    text = line_of(as_json=True, node=value)
    assert text.isascii()
    assert text.count("\n") == 1
    found = json.loads(text)["jenkins.node.name"]
    found.encode()  # it is Unicode, whatever came in
    if "\udcff" not in value:
        assert found == value
    shown = line_of(as_json=False, node=value)
    assert shown.count("\n") == 1
    assert shown[:-1].isprintable()


def test_bytes_and_keys_are_text() -> None:
    line = line_of(as_json=True, details={b"\xff": [b"\x1b", object], "\udcff": 1})
    assert json.loads(line)["gateway.audit.details"]["\u00ff"][0] == "\x1b"


@pytest.mark.parametrize("as_json", [True, False])
def test_lines_have_an_end(*, as_json: bool) -> None:
    evil = "\U0001f600\x1b" * 20_000
    many = {f"field_{i}": evil for i in range(40)}
    nested = {"deep": [[evil] * 20] * 20}
    line = line_of(as_json=as_json, node=evil, **many, details=nested)
    assert len(line) <= MAX_LINE
    assert line.count("\n") == 1


def test_of_a_long_traceback_the_end_is_kept() -> None:
    stream = io.StringIO()
    configure(json=True, stream=stream)
    try:
        raise RuntimeError("x" * 100_000 + "the end")
    except RuntimeError:
        get_logger("system").exception("internal error")
    line = json.loads(stream.getvalue())
    assert line["exception.stacktrace"].endswith("the end")
    assert len(stream.getvalue()) <= MAX_LINE
