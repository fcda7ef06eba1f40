"""Limits: their defaults, and how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config.limits import LimitsConfig
from gateway.config.schema import config_schema
from gateway.config.values import FileContext

FROM_FILE = FileContext(base=Path("/"))


def test_defaults() -> None:
    limits = LimitsConfig()
    assert (limits.head, limits.request_line, limits.header_fields) == (32768, 8192, 100)
    assert (limits.head_timeout, limits.idle_timeout, limits.tls_handshake_timeout) == (15, 75, 10)
    assert limits.body is None
    assert limits.websocket_frame == 16 << 20
    assert limits.head_warning < 8192
    assert limits.connections_per_address < limits.connections


def test_as_a_file_writes_them() -> None:
    limits = LimitsConfig.model_validate(
        {"head": "16KiB", "body": "2GiB", "head_timeout": "5s", "connections": 10},
        context=FROM_FILE,
    )
    assert (limits.head, limits.body, limits.head_timeout) == (16384, 2 << 30, 5.0)
    assert LimitsConfig.model_validate(limits.model_dump(mode="json")) == limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": "1B"},
        {"head": 16384},
        {"request_line": "100B"},
        {"websocket_frame": "63KiB"},
        {"header_fields": 1},
        {"connections": 0},
        {"connections_per_address": 0},
        {"controller_handshakes": 0},
        {"idle_timeout": "0s"},
        {"bodies": "1MiB"},
    ],
)
def test_mistakes(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LimitsConfig.model_validate(wrong, context=FROM_FILE)


def test_the_schema_writes_sizes_as_files_do() -> None:
    found = config_schema()["$defs"]["LimitsConfig"]["properties"]
    assert found["head"]["default"] == "32KiB"
    assert found["body"]["default"] is None
    assert found["connections"]["default"] == 16384


def test_a_head_has_a_bound_because_every_connection_may_fill_it() -> None:
    assert LimitsConfig.model_validate({"head": "1MiB"}, context=FROM_FILE).head == 1 << 20
    with pytest.raises(ValidationError, match="allowed: at most 1MiB, because every connection"):
        LimitsConfig.model_validate({"head": "1GiB"}, context=FROM_FILE)
