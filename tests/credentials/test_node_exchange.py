"""Tests of ``gateway.credentials.node_exchange``: what is shown, names and secrets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.credentials.issuing import NodeError
from gateway.credentials.node_exchange import check_name, check_secret, state_of, to_listing
from tests.credentials.node_records import FULL


def test_what_is_listed_holds_nothing_that_helps() -> None:
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


@pytest.mark.parametrize("name", [" a", "a ", "a\xa0", " "])
def test_names_with_white_space_around_them(name: str) -> None:
    with pytest.raises(NodeError, match="without white space around it"):
        check_name(name)
