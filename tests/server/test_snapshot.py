"""The configuration on its way between processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.server.snapshot import read_snapshot
from tests.server.workers import make_config


def test_it_arrives_whole(tmp_path: Path) -> None:
    config = make_config(tmp_path, agents={"handshake_rate": 7})
    assert read_snapshot(json.loads(json.dumps(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize("data", [None, [], "x", {"controllers": {"main": {"token": "hunter2"}}}])
def test_what_is_wrong_is_said_without_being_shown(data: object) -> None:
    with pytest.raises(ConfigError, match="was the program replaced while it ran") as caught:
        read_snapshot(data)
    assert "hunter" not in str(caught.value)
