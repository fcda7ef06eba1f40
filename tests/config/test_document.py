"""YAML as this project reads it: few kinds of scalars, lines for everything, clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document import (
    Problem,
    format_location,
    parse_document,
    read_document,
    substitute,
)
from gateway.errors import ConfigError


def _parse(text: str, **environ: str) -> object:
    return parse_document(text, source="f.yaml", environ=environ).data


def _error(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _parse(text, **environ)
    return str(caught.value)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-5", -5),
        ("50000", 50000),
        # Everything YAML 1.1 would surprise people with stays text.
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("True", "True"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("22:22:22", "22:22:22"),
        ("1.5", "1.5"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2026-01-01", "2026-01-01"),
        ("=", "="),
        ("9" * 30, "9" * 30),
        # Quoted is text.
        ('"true"', "true"),
        ("'5'", "5"),
        ('""', ""),
    ],
)
def test_scalars(scalar: str, value: object) -> None:
    assert _parse(f"a: {scalar}") == {"a": value}
    assert type(_parse(f"a: {scalar}")["a"]) is type(value)  # type: ignore[index]


def test_structure_and_lines() -> None:
    document = parse_document(
        "a: 1\nb:\n  c: [x, y]\n  d:\n    - e: 1\n      f: 2\n    - {g: 3}\n",
        source="f.yaml",
        environ={},
    )
    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": 1, "f": 2}, {"g": 3}]}}
    lines = {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c", 1): 3,
        ("b", "d"): 4,
        ("b", "d", 0, "f"): 6,
        ("b", "d", 1, "g"): 7,
        ("b", "d", 1, "missing"): 7,
        ("b", "missing"): 2,
        ("missing",): 1,
    }
    assert {location: document.line_of(location) for location in lines} == lines
    assert document.value_at(("b", "d", 0, "f")) == 2
    assert document.value_at(("b", "d", 9)) is None
    assert document.value_at(("a", "x")) is None


def test_a_merge_key_is_a_key_like_any_other() -> None:
    assert _parse("'<<': {a: 1}\n") == {"<<": {"a": 1}}
    assert _parse("<<: {a: 1}\n") == {"<<": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "f.yaml: the file is empty."),
        ("# nothing\n", "f.yaml: the file is empty."),
        ("- a\n", "f.yaml:1: found a list; allowed: a mapping"),
        ("\nhello\n", "f.yaml:2: found text; allowed: a mapping"),
        ("a: 1\n\nb: 2\na: 3\n", "f.yaml:4: a: found a second time; the first one is in line 1"),
        ("a:\n\tb: 1\n", "f.yaml:2: found a tab; YAML allows only spaces"),
        ("a: [1\nb: 2\n", "f.yaml:2: not YAML: "),
        ("a: 'x\n", "f.yaml:2: not YAML: "),
        ("a: b: c\n", "f.yaml:1: not YAML: mapping values are not allowed here (column 5)."),
        ("a: 1\n---\nb: 1\n", "f.yaml:2: found a second document"),
        ("a: &x 1\n", "f.yaml:1: anchors and aliases are not supported"),
        ("a: 1\nb: *x\n", "f.yaml:2: anchors and aliases are not supported"),
        ("a: !!python/name:os.system x\n", "f.yaml:1: a: found the tag"),
        ("a: !secret x\n", "f.yaml:1: a: found the tag !secret; allowed: no tags"),
        ("a: !!int 5\n", "f.yaml:1: a: found the tag"),
        ("a:\n  ? [b]\n  : 1\n", "f.yaml:2: a: found a list as a key; allowed: a word"),
        ('a: 1\nb: "\x07"\n', "f.yaml:2: found the control character U+0007"),
        ("[" * 5000, "f.yaml: brackets are nested too deeply"),
        ("a: ${NOT_SET}\n", "f.yaml:1: a: the environment variable NOT_SET is not set."),
        ("a:\n- ${\n", 'f.yaml:2: a[0]: found "${"; allowed: ${NAME}'),
    ],
)
def test_refusals(text: str, error: str) -> None:
    assert _error(text).startswith(error)


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    found = _error("b: ${X}\na: !t 1\nb: 2\n").splitlines()
    assert [line.split(":")[1] for line in found] == ["1", "2", "3"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError, match=f"{path}: cannot be read: {text}"):
            read_document(path)


def test_files_are_utf8(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes("\ufeffa: é\n".encode())
    assert read_document(path).data == {"a": "é"}
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match=r"f\.yaml:2: found the byte 0xe9; allowed: UTF-8"):
        read_document(path)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    refusal = ""
    try:
        data = _parse(text)
    except ConfigError as error:
        refusal = str(error)
        data = {}
    assert isinstance(data, dict)
    assert not refusal or refusal.startswith("f.yaml")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${B}", "x1y2"),
        ("${NOT:-3}", "3"),
        ("${NOT:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-4}", "4"),
        ("${A:-5}", "1"),
        ("${NOT:-a:-b c}", "a:-b c"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("a$b", "a$b"),
        ("$", "$"),
    ],
)
def test_substitution(text: str, result: str) -> None:
    assert substitute(text, {"A": "1", "B": "2", "EMPTY": ""}) == result


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A-b}", "${A b}", "${:-x}"])
def test_wrong_substitution(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: \$\{NAME\} or \$\{NAME:-default\}"):
        substitute(text, {"A": "1"})


def test_substituted_text_is_not_yaml() -> None:
    assert _parse("a: ${X}\n", X="[1, 2]\nb: 3") == {"a": "[1, 2]\nb: 3"}
    # What is not quoted is looked at after substitution, so that numbers and words may come from
    # it.
    assert _parse("a: ${X}\nb: '${X}'\nc: ${Y}", X="50000", Y="true") == {
        "a": 50000,
        "b": "50000",
        "c": True,
    }
    assert _parse("${X}: 1\n", X="a") == {"${X}": 1}


def test_locations() -> None:
    assert format_location(("listeners", 0, "tls", "certificates", 12, "key")) == (
        "listeners[0].tls.certificates[12].key"
    )
    assert format_location(()) == ""


def test_problems_are_reported_where_they_are() -> None:
    document = parse_document("a: 1\nb: 2\n", source="f.yaml", environ={})
    assert document.report(Problem((), "wrong")) == "f.yaml:1: wrong"
    error = document.fail([Problem(("b",), "two"), Problem(("a",), "one")])
    assert str(error) == "f.yaml:1: a: one\nf.yaml:2: b: two"
