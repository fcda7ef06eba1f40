"""The values of the page: equal as long as nothing that is shown has changed."""

from __future__ import annotations

import pytest

from gateway.server.admin.page.values import SessionRow
from tests.server.admin.page.snapshots import session, snapshot


def test_what_is_the_same_is_equal_and_hashes_alike() -> None:
    assert session(7) == session(7)
    assert hash(session(7)) == hash(session(7))
    assert snapshot() == snapshot()


@pytest.mark.parametrize("name", SessionRow.__dataclass_fields__)
def test_every_field_counts(name: str) -> None:
    row = session(7)
    changed = session(7, **{name: "another" if name != "suspect" else not row.suspect})
    assert changed != row


def test_states() -> None:
    assert (session(1).state, session(5).state) == ("live", "suspect")
