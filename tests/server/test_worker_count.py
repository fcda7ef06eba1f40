"""How many workers ``auto`` makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.config.models import GatewayConfig
from gateway.config.processes import MOST_WORKERS
from gateway.server.worker_count import worker_count


def config(workers: Any) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {
            "state_dir": "/nowhere",
            "listeners": [{"address": "127.0.0.1:0"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/"}},
            "workers": workers,
        }
    )


def test_a_number_is_that_many() -> None:
    assert worker_count(config(7)) == 7


@pytest.mark.parametrize(
    ("processors", "limit", "expected"),
    [
        (4, None, 4),
        (4, "max 100000", 4),
        (64, "200000 100000", 2),
        (64, "150000 100000", 2),  # one and a half: a second one is of use
        (64, "10000 100000", 1),
        (2, "400000 100000", 2),
        (4, "nonsense", 4),
        (4, "100000 0", 4),
        (1000, "max 100000", MOST_WORKERS),
    ],
)
def test_auto_is_what_may_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    limit: str | None,
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    path = tmp_path / "cpu.max"
    if limit is not None:
        path.write_text(limit + "\n")
    assert worker_count(config("auto"), cgroup=path) == expected
