"""The ordered list of fields: look-up, edits, and what it does not show."""

from __future__ import annotations

import pytest

from gateway.protocol.http_headers import Headers

RECEIVED = Headers(
    [
        (b"Host", b"example.com"),
        (b"accept", b"a"),
        (b"X-Odd-CASE", b"1"),
        (b"Accept", b"b, C ,, d"),
        (b"Secret-Key", b"0123456789abcdef"),
    ]
)


@pytest.mark.parametrize("name", [b"host", b"Host", b"HOST"])
def test_names_are_found_in_any_case(name: bytes) -> None:
    assert RECEIVED.get(name) == b"example.com"
    assert name in RECEIVED


def test_an_absent_name_is_none_and_an_empty_value_is_not() -> None:
    headers = Headers([(b"Empty", b"")])
    assert headers.get(b"empty") == b""
    assert b"empty" in headers
    assert headers.get(b"other") is None
    assert b"other" not in headers
    assert headers.get_all(b"other") == []
    assert headers.elements(b"other") == []


def test_repeated_fields_keep_their_order() -> None:
    assert RECEIVED.get(b"Accept") == b"a"
    assert RECEIVED.get_all(b"Accept") == [b"a", b"b, C ,, d"]


def test_elements_joins_fields_and_drops_empty_members() -> None:
    assert RECEIVED.elements(b"accept") == [b"a", b"b", b"c", b"d"]


def test_elements_strips_space_and_tab_only() -> None:
    assert Headers([(b"a", b"\tx \t,\xa0y")]).elements(b"a") == [b"x", b"\xa0y"]


def test_iteration_gives_what_came_in_its_order_and_case() -> None:
    fields = [(b"B", b"2"), (b"a", b"1"), (b"B", b"3")]
    assert list(Headers(iter(fields))) == fields
    assert len(Headers(fields)) == 3


def test_without_removes_every_field_of_a_name() -> None:
    headers = RECEIVED.without([b"ACCEPT", b"host", b"absent"])
    assert [name for name, _ in headers] == [b"X-Odd-CASE", b"Secret-Key"]
    assert len(RECEIVED) == 5


def test_with_replaces_in_place_and_appends_what_was_not_there() -> None:
    headers = RECEIVED.with_((b"Accept", b"new"), (b"Added", b"x"))
    assert list(headers) == [
        (b"Host", b"example.com"),
        (b"Accept", b"new"),
        (b"X-Odd-CASE", b"1"),
        (b"Secret-Key", b"0123456789abcdef"),
        (b"Added", b"x"),
    ]
    assert RECEIVED.get_all(b"accept") == [b"a", b"b, C ,, d"]


def test_values_do_not_appear_in_a_repr() -> None:
    assert "0123456789abcdef" not in repr(RECEIVED)
    assert "Secret-Key" in repr(RECEIVED)


def test_equality_is_about_order_and_case() -> None:
    assert Headers([(b"a", b"1")]) == Headers([(b"a", b"1")])
    assert Headers([(b"a", b"1")]) != Headers([(b"A", b"1")])
    assert Headers() != []
    assert len({Headers([(b"a", b"1")]), Headers([(b"a", b"1")])}) == 1
