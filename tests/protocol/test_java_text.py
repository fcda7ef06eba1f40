"""Java's modified UTF-8 (PROTOCOLS 0.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.java_text import read_utf, write_utf


def test_the_recorded_example() -> None:
    encoded = bytes.fromhex("000e 61 c080 c3a9 e282ac eda0bdedb880")
    assert write_utf("a\0é€😀") == encoded
    assert read_utf(encoded) == "a\0é€😀"


def test_half_a_pair_is_kept() -> None:
    assert read_utf(write_utf("a\ud83d")) == "a\ud83d"


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_every_text_comes_back(text: str) -> None:
    assert read_utf(write_utf(text)) == text


@given(st.binary(max_size=40))
def test_what_is_read_has_one_spelling(data: bytes) -> None:
    try:
        text = read_utf(data)
    except RemoteProtocolError:
        return
    assert write_utf(text) == data


def test_the_longest() -> None:
    assert len(write_utf("a" * 65535)) == 65537
    with pytest.raises(ValueError, match="65535"):
        write_utf("€" * 21846)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\2a",
        b"\0\1ab",
        b"\0\2\xc1\xa7",  # g, in two bytes: Java would take it
        b"\0\1\0",  # NUL in one
        b"\0\3\xe0\x81\xa7",  # g, in three
        b"\0\4\xf0\x9f\x98\x80",  # a character above U+FFFF in four
        b"\0\1\xff",
        b"\0\2\xc3\x28",
        b"\0\2\xe2\x82",
    ],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed text"):
        read_utf(data)
