"""Tests of ``gateway.credentials.nodes``: which secrets of a node are valid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.credentials.nodes import Credential, Nodes, open_keys
from gateway.credentials.store_keys import StoreKeyError
from tests.credentials.node_records import FULL, node


def test_valid_credentials() -> None:
    newest, before = FULL.credentials
    assert FULL.valid_credentials(1599.9) == (newest, before)
    assert FULL.valid_credentials(1600.0) == (newest,)
    assert replace(FULL, revoked_at=1.0).valid_credentials(1000.0) == ()


def test_never_more_than_two() -> None:
    many = node(credentials=tuple(Credential(b"%d" % i, "k", 9.0 - i) for i in range(5)))
    assert [each.digest for each in many.valid_credentials(10.0)] == [b"0", b"1"]


def test_nothing_shows_a_digest() -> None:
    assert "aaaa" not in repr(FULL)
    assert "sealed" not in repr(FULL)
    assert FULL.context == "main/build-1"


def test_a_key_file_that_may_not_be_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that another user may not search; as root, no folder is like that."""

    def exists(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(StoreKeyError, match="key cannot be read: permission denied"):
        open_keys(tmp_path / "key", Nodes)


def test_no_key_is_made_for_a_store_that_cannot_be_read_whole(tmp_path: Path) -> None:
    with pytest.raises(StoreKeyError, match="key is missing"):
        open_keys(tmp_path / "key", lambda: Nodes(damaged=("main/a",)))
    assert not (tmp_path / "key").exists()
