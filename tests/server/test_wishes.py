"""What operators may wish for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.server.wishes import (
    LONGEST_REASON,
    BlockWish,
    DrainWish,
    Kick,
    LevelWish,
    Takeover,
    UnblockWish,
)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Kick, {"node": "a", "close_code": 4999}),
        (Kick, {"session": "a-b"}),
        (Takeover, {"node": "‮", "controller": "main"}),
        (BlockWish, {"node": "a", "duration_s": 1}),
        (UnblockWish, {"node": "x" * 1024}),
        (LevelWish, {"level": None}),
        (DrainWish, {"confirm": True}),
    ],
)
def test_what_is_allowed(kind: type[BaseModel], arguments: dict[str, Any]) -> None:
    assert kind.model_validate(arguments).model_dump(exclude_unset=True) == arguments


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Kick, {}),
        (Kick, {"controller": "main"}),
        (Kick, {"node": ""}),
        (Kick, {"node": "x" * 1025}),
        (Kick, {"node": "a", "close_code": 1006}),
        (Kick, {"node": "a", "reason": "two\nlines"}),
        (Kick, {"node": "a", "reason": "x" * (LONGEST_REASON + 1)}),
        (Takeover, {}),
        (BlockWish, {"node": "a", "duration_s": 0}),
        (BlockWish, {"node": "a", "duration_s": float("nan")}),
        (BlockWish, {"node": "a", "duration_s": float("inf")}),
        (BlockWish, {"node": 1}),
        (LevelWish, {"level": "trace"}),
        (DrainWish, {"confirm": False}),
        (DrainWish, {}),
    ],
)
def test_what_is_not(kind: type[BaseModel], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(arguments)
