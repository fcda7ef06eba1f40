"""Tests of ``gateway.config.identity``: the spellings of a controller's key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.extracted import Extracted
from gateway.config.identity import Identity
from gateway.config.keys import PublicKey
from gateway.config.values import FileContext
from tests.credentials.jenkins_files import NODE_KEY, public_der

ADAPTER: TypeAdapter[object] = TypeAdapter(Identity)


def read(value: object, base: Path) -> object:
    return ADAPTER.validate_python(value, context=FileContext(base))


def test_all_spellings(tmp_path: Path) -> None:
    key = PublicKey(public_der())
    (tmp_path / "key").write_text(str(key))
    (tmp_path / "secrets").write_bytes(Extracted(NODE_KEY, key).to_bytes())
    assert read("discover", tmp_path) == "discover"
    assert read(str(key), tmp_path) == key
    assert read({"file": "key"}, tmp_path) == key
    assert read({"jenkins_secrets": "secrets"}, tmp_path) == key
    assert read({"jenkins_secrets": str(tmp_path / "secrets")}, tmp_path) == key


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "with nothing else in it"),
        ({"file": "a", "jenkins_secrets": "b"}, "with nothing else in it"),
        ({"files": "a"}, "with nothing else in it"),
        ({"file": 5}, "with nothing else in it"),
        ({"jenkins_secrets": "none"}, "no such file"),
        ({"jenkins_secrets": "without"}, "has none, because"),
        ("hunter2", 'allowed: "discover"'),
    ],
)
def test_what_is_wrong(tmp_path: Path, value: object, text: str) -> None:
    (tmp_path / "without").write_bytes(Extracted(NODE_KEY, None).to_bytes())
    with pytest.raises(ValidationError, match=text):
        read(value, tmp_path)
