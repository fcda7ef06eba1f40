"""Tests of ``gateway.credentials.node_import``: out, in again, and what is not let in."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.credentials.issuing import NodeError
from gateway.credentials.node_exchange import FORMAT, to_export
from gateway.credentials.node_import import read_nodes
from gateway.credentials.nodes import Node
from gateway.credentials.store_keys import StoreKeys
from tests.credentials.node_records import FULL

KEY = "k1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
OLD_KEY = "k0 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
REAL = "4ea1" * 16


@pytest.fixture
def keys(tmp_path: Path) -> StoreKeys:
    path = tmp_path / "key"
    path.write_text(KEY + OLD_KEY)
    return StoreKeys.open(path)


def document(*nodes: Any) -> dict[str, Any]:
    return {"format": FORMAT, "nodes": list(nodes)}


def whole(keys: StoreKeys) -> Node:
    return replace(
        FULL,
        created_at=1000.0,
        conditions=replace(FULL.conditions, valid_until=2000.0),
        revoked_at=1900.0,
        upstream=keys.seal("upstream-secret", FULL.context, REAL),
    )


def exported(keys: StoreKeys) -> Any:
    return json.loads(json.dumps(to_export(whole(keys))))


def test_out_and_in_again(keys: StoreKeys) -> None:
    node = whole(keys)
    text = json.dumps(document(to_export(node)))
    assert read_nodes(json.loads(text), keys, 5.0) == [node]


def test_plain_secrets(keys: StoreKeys) -> None:
    entry = {
        "controller": "main",
        "node": "a",
        "secret": "s" * 64,
        "upstream_secret": REAL,
        "allow_from": ["10.0.0.0/8"],
        "certificate": {"by": "san"},
        "note": "ask Bob",
    }
    (found,) = read_nodes(document(entry), keys, 5.0)
    assert found.credentials[0].digest == keys.digest("main/a", "s" * 64)
    assert found.upstream is not None
    assert keys.open_sealed("upstream-secret", "main/a", found.upstream) == REAL
    assert found.created_at == 5.0
    assert found.conditions.certificate is not None
    assert found.note == "ask Bob"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"secret": "hunter2"}, r"nodes\[0\]: secret: allowed: 32 characters"),
        ({"secret": "hunter2\n" * 10}, "secret: allowed: one line of ISO-8859-1"),
        ({"secret": None}, '"secret": allowed: a string'),
        ({"secret": 10**40}, '"secret": allowed: a string'),
        ({"upstream_secret": "hunter2\r\nX-Evil: 1" * 9}, "upstream_secret: allowed: one line"),
        ({"upstream_secret": "\u20ac" * 64}, "upstream_secret: allowed: one line"),
        ({"upstream_secret": "hunter2"}, "upstream_secret: allowed: 32 characters"),
        ({"upstream_secret": 5}, '"upstream_secret": allowed: a string'),
        ({"controller": 5}, '"controller": allowed: a string'),
        ({"node": 5}, '"node": allowed: a string'),
        ({"node": "a\nb"}, "ISO-8859-1 characters"),
        ({"node": "日本"}, "ISO-8859-1 characters"),
        ({"node": " a"}, "without white space around it"),
        ({"note": None}, '"note": allowed: a string'),
        ({"allow_from": ["hunter2"]}, '"allow_from": allowed: networks'),
        ({"allow_from": [10]}, '"allow_from": allowed: a string'),
        ({"allow_from": ["10.0.0.1/8"]}, '"allow_from": allowed: networks without host bits'),
        ({"allow_from": "10.0.0.0/8"}, '"allow_from": allowed: a list'),
        ({"allow_from": None}, '"allow_from": allowed: a list'),
        ({"valid_from": "2026-01-01T00:00:00"}, '"valid_from": allowed: a time with its offset'),
        ({"valid_until": "9999-12-31T23:59:59-12:00"}, '"valid_until": allowed: a time'),
        ({"valid_from": 5}, '"valid_from": allowed: a time'),
        (
            {"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"},
            "an end after the beginning",
        ),
        ({"certificate": {"by": "x"}}, '"certificate": allowed'),
        ({"certificate": {"by": "san", "nmae": "hunter2"}}, '"certificate": allowed'),
        ({"certificate": "hunter2"}, '"certificate": allowed'),
        ({"allowfrom": []}, "found 1 unknown keys; allowed: allow_from, certificate, contr"),
        ({"hunter2": ""}, "found 1 unknown keys"),
        ({"revoked_at": "2026-01-01T00:00:00Z"}, "found 1 unknown keys"),
        ({"credentials": []}, "found 1 unknown keys"),
    ],
)
def test_what_is_wrong_with_plain_entries(
    keys: StoreKeys, changes: dict[str, Any], text: str
) -> None:
    entry = {"controller": "main", "node": "a", "secret": "s" * 64, **changes}
    with pytest.raises(NodeError, match=text) as caught:
        read_nodes(document(entry), keys, 5.0)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("nodes[0]: ")


def _digest(length: int) -> str:
    return base64.b64encode(bytes(length)).decode()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"upstream": {"key": "k1", "data": _digest(40)}}, '"upstream": allowed: what `nodes'),
        ({"upstream": {"key": "k1", "data": "hunter2"}}, '"data": allowed: base64'),
        ({"upstream": {"key": "k1"}}, "missing: data"),
        ({"upstream": "hunter2"}, '"upstream": allowed: a JSON object'),
        ({"credentials": None}, '"credentials": allowed: a list'),
        ({"credentials": ["hunter2"]}, '"credentials": allowed: a list of JSON objects'),
        ({"revoked_at": True}, '"revoked_at": allowed: a time'),
        ({"created_at": None}, '"created_at": allowed: a time'),
        ({"valid_untill": None}, "found 1 unknown keys"),
    ],
)
def test_what_is_wrong_with_exported_entries(
    keys: StoreKeys, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(NodeError, match=text) as caught:
        read_nodes(document({**exported(keys), **changes}), keys, 5.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"key": "kx"}, "made with a key that is not in the key file"),
        ({"issued_at": None}, '"issued_at": allowed: a time'),
        ({"digest": _digest(31)}, '"digest": allowed: base64 of 32 bytes'),
        ({"digest": "hunter2"}, '"digest": allowed: base64'),
        ({"expires": None}, "found 1 unknown keys"),
    ],
)
def test_what_is_wrong_with_credentials(
    keys: StoreKeys, changes: dict[str, Any], text: str
) -> None:
    entry = exported(keys)
    entry["credentials"][0].update(changes)
    with pytest.raises(NodeError, match=text):
        read_nodes(document(entry), keys, 5.0)


@pytest.mark.parametrize("key", sorted(to_export(FULL)))
def test_nothing_that_was_exported_may_be_left_out(keys: StoreKeys, key: str) -> None:
    """Least of all a condition."""
    entry = exported(keys)
    del entry[key]
    with pytest.raises(NodeError, match=f"missing: {key}"):
        read_nodes(document(entry), keys, 5.0)


def test_more_than_may_be_valid(keys: StoreKeys) -> None:
    entry = exported(keys)
    entry["credentials"] *= 2
    with pytest.raises(NodeError, match='"credentials": allowed: at most 2'):
        read_nodes(document(entry), keys, 5.0)


def test_a_node_that_is_there_twice(keys: StoreKeys) -> None:
    with pytest.raises(NodeError, match=r"nodes\[1\]: main/build-1 is there a second time"):
        read_nodes(document(exported(keys), exported(keys)), keys, 5.0)


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        {"format": "x"},
        {"format": FORMAT},
        {"format": FORMAT, "nodes": {}},
        {"format": FORMAT, "nodes": [], "more": 1},
        {"format": FORMAT, "nodes": ["hunter2"]},
        None,
    ],
)
def test_other_documents(keys: StoreKeys, found: Any) -> None:
    with pytest.raises(NodeError, match=r"allowed|missing: nodes") as caught:
        read_nodes(found, keys, 5.0)
    assert "hunter2" not in str(caught.value)
