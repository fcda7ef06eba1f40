"""The helper that tests parsers is tested on parsers with the faults it is to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.feeding import fail_all_ways, feed_all_ways

if TYPE_CHECKING:
    from collections.abc import Iterable


def _line(pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    line, _, rest = b"".join(pieces).partition(b"\n")
    return line, rest


def _line_of_first_piece(pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    return _line(list(pieces)[:1])


def _greedy(pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    return b"".join(pieces).rstrip(b"\n"), b""


def test_a_correct_parser_passes() -> None:
    assert feed_all_ways(b"hello\n", _line) == b"hello"


def test_a_parser_that_wants_everything_at_once_is_found() -> None:
    with pytest.raises(AssertionError, match="byte by byte"):
        feed_all_ways(b"hello\n", _line_of_first_piece)


def test_a_parser_that_eats_what_follows_is_found() -> None:
    with pytest.raises(AssertionError, match="trailing"):
        feed_all_ways(b"hello\n", _greedy)


def test_a_parser_that_leaves_bytes_is_found() -> None:
    with pytest.raises(AssertionError, match="left over"):
        feed_all_ways(b"hello\nworld", _line)


def test_failing_must_not_depend_on_cuts() -> None:
    def moody(pieces: Iterable[bytes]) -> None:
        raise ValueError if len(list(pieces)) == 1 else KeyError

    def strict(pieces: Iterable[bytes]) -> None:
        raise ValueError

    assert fail_all_ways(b"abc", strict) is ValueError
    with pytest.raises(AssertionError, match="different errors"):
        fail_all_ways(b"abc", moody)
    with pytest.raises(AssertionError, match="accepted"):
        fail_all_ways(b"abc", lambda pieces: None)
