"""Tests of ``gateway.config.extracted``: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.extracted import Extracted
from gateway.config.keys import PublicKey
from tests.credentials.jenkins_files import NODE_KEY, public_der


@pytest.mark.parametrize("identity", [None, "key"])
def test_there_and_back(tmp_path: Path, identity: str | None) -> None:
    key = None if identity is None else PublicKey(public_der())
    path = tmp_path / "f"
    path.write_bytes(Extracted(NODE_KEY, key).to_bytes())
    assert Extracted.read(path) == Extracted(NODE_KEY, key)


_GOOD = {"format": "remoting-gateway jenkins-secrets 1", "node_secret_key": "aHVudGVyMg=="}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**_GOOD, "format": "x"}).encode(),
        json.dumps({**_GOOD, "node_secret_key": "hunter2!"}).encode(),
        json.dumps({**_GOOD, "node_secret_key": ""}).encode(),
        json.dumps({**_GOOD, "node_secret_key": 5}).encode(),
        json.dumps({**_GOOD, "identity": "aHVudGVyMg=="}).encode(),
        json.dumps({"format": _GOOD["format"]}).encode(),
    ],
)
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="allowed: a file that `remoting-gateway") as caught:
        Extracted.read(path)
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_nothing_shows_the_key() -> None:
    assert "@ABC" not in repr(Extracted(NODE_KEY, None))
