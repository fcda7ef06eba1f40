"""Tests of ``gateway.credentials.node_rows``: what is a record, and what is damaged.

What was written and is read again is in ``test_node_store``.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.credentials.node_rows import read_audit_entry, read_node
from gateway.credentials.nodes import AuditEntry

NODE: tuple[Any, ...] = (
    *(7, "main", "a", 1.0, None, "", "[]"),
    *(None, None, None, None, None, None),
)
CREDENTIAL: tuple[Any, ...] = (9, b"d" * 32, "k", 2.0, None, None)


def test_a_record() -> None:
    node = read_node(NODE, (CREDENTIAL,))
    assert (node.context, node.created_at, node.revoked_at, node.upstream) == (
        "main/a",
        1.0,
        None,
        None,
    )
    (credential,) = node.credentials
    assert (credential.id, credential.digest, credential.issued_at) == (9, b"d" * 32, 2.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (1, b"main"),
        (2, None),
        (3, "now"),
        (4, "x"),
        (5, 1.0),
        (6, "["),
        (6, "{}"),
        (6, "[[]]"),
        (6, "[" * 100_000),
        (7, "dns"),
        (9, b"\0"),
        (10, "soon"),
        (12, b"sealed, by no key"),
    ],
)
def test_a_damaged_node(column: int, value: object) -> None:
    row = (*NODE[:column], value, *NODE[column + 1 :])
    with pytest.raises((ValueError, TypeError, RecursionError)):
        read_node(row, ())


@pytest.mark.parametrize(
    ("column", "value"), [(1, "text"), (1, None), (2, b"k"), (3, None), (4, "x"), (5, "x")]
)
def test_a_damaged_credential(column: int, value: object) -> None:
    row = (*CREDENTIAL[:column], value, *CREDENTIAL[column + 1 :])
    with pytest.raises(TypeError):
        read_node(NODE, (row,))


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000])
def test_damaged_details_of_the_audit_trail(text: str) -> None:
    found = read_audit_entry((1.0, "issued", "bob", "main", "a", text))
    assert found == AuditEntry(
        1.0, "issued", "bob", "main", "a", {"damaged": "the details of this entry"}
    )
    assert read_audit_entry((1.0, "issued", "bob", "main", "a", '{"x": 1}')).details == {"x": "1"}
