"""Tests of ``gateway.credentials.node_exchange``: out, in again, and what is not let in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.credentials.issuing import NodeError
from gateway.credentials.node_exchange import (
    FORMAT,
    check_name,
    check_secret,
    read_nodes,
    state_of,
    to_export,
    to_listing,
)
from gateway.credentials.store_keys import StoreKeys
from tests.credentials.node_records import FULL

KEY = "k1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
OLD_KEY = "k0 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"


@pytest.fixture
def keys(tmp_path: Path) -> StoreKeys:
    path = tmp_path / "key"
    path.write_text(KEY + OLD_KEY)
    return StoreKeys.open(path)


def document(*nodes: Any) -> dict[str, Any]:
    return {"format": FORMAT, "nodes": list(nodes)}


def test_out_and_in_again(keys: StoreKeys) -> None:
    whole = replace(
        FULL,
        created_at=1000.0,
        conditions=replace(FULL.conditions, valid_until=2000.0),
        revoked_at=1900.0,
    )
    exported = json.loads(json.dumps(document(to_export(whole))))
    assert read_nodes(exported, keys, 5.0) == [whole]


def test_plain_secrets(keys: StoreKeys) -> None:
    entry = {
        "controller": "main",
        "node": "a",
        "secret": "s" * 64,
        "upstream_secret": "the real one",
        "allow_from": ["10.0.0.0/8"],
    }
    (found,) = read_nodes(document(entry), keys, 5.0)
    assert found.credentials[0].digest == keys.digest("main/a", "s" * 64)
    assert found.upstream is not None
    assert keys.open_sealed("upstream-secret", "main/a", found.upstream) == "the real one"
    assert found.created_at == 5.0


_PLAIN = {"controller": "main", "node": "a", "secret": "s" * 64}
_CREDENTIAL = {"digest": "AAAA", "key": "k1", "issued_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({**_PLAIN, "secret": "hunter2"}, r"nodes\[0\]: secret: allowed: 32 characters"),
        ({**_PLAIN, "secret": "hunter2\n" * 10}, "one line of ISO-8859-1"),
        ({**_PLAIN, "node": "a\nb"}, "ISO-8859-1 characters"),
        ({**_PLAIN, "node": "日本"}, "ISO-8859-1 characters"),
        ({**_PLAIN, "node": ""}, "ISO-8859-1 characters"),
        ({**_PLAIN, "allow_from": ["hunter2"]}, "not in the form"),
        ({**_PLAIN, "valid_from": "2026-01-01T00:00:00"}, "not in the form"),
        ({**_PLAIN, "valid_from": 5}, "not in the form"),
        ({**_PLAIN, "certificate": {"by": "x"}}, "not in the form"),
        ({"controller": "main", "node": "a"}, "not in the form"),
        ({"node": "a"}, "not in the form"),
        ("hunter2", "not in the form"),
        ({**_PLAIN, "secret": "s" * 64, "certificate": "hunter2"}, "not in the form"),
        (
            {"controller": "m", "node": "a", "credentials": [{**_CREDENTIAL, "key": "kx"}]},
            "made with the key kx, which is not in the key file",
        ),
        (
            {"controller": "m", "node": "a", "credentials": [{**_CREDENTIAL, "issued_at": None}]},
            "not in the form",
        ),
    ],
)
def test_what_is_wrong(keys: StoreKeys, entry: Any, text: str) -> None:
    with pytest.raises(NodeError, match=text) as caught:
        read_nodes(document(entry), keys, 5.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("found", [[], {}, {"format": "x"}, {"format": FORMAT}, None])
def test_other_documents(keys: StoreKeys, found: Any) -> None:
    with pytest.raises(NodeError, match="allowed"):
        read_nodes(found, keys, 5.0)


def test_what_is_listed_holds_nothing_that_helps(keys: StoreKeys) -> None:
    listed = to_listing(FULL, 1500.0)
    assert listed["upstream_secret"] == "stored"
    assert [each["expires_at"] for each in listed["credentials"]] == [None, "1970-01-01T00:26:40Z"]
    text = json.dumps(listed)
    assert "digest" not in text
    assert "data" not in text


def test_states() -> None:
    assert state_of(FULL, 999.0) == "not yet valid"
    assert state_of(FULL, 1500.0) == "rotating"
    assert state_of(FULL, 1700.0) == "active"
    assert state_of(FULL, 2001.0) == "expired"
    assert state_of(replace(FULL, revoked_at=1.0), 1500.0) == "revoked"


def test_names_and_secrets_that_are_fine() -> None:
    assert check_name("agent ü (1)") == "agent ü (1)"
    assert check_secret("0" * 64, "x") == "0" * 64
