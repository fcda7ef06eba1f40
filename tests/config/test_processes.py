"""Workers and shutdown: defaults, and how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.processes import MOST_WORKERS, ShutdownConfig, Workers
from gateway.config.values import FileContext

FROM_FILE = FileContext(base=Path("/"))
WORKERS: TypeAdapter[object] = TypeAdapter(Workers)


def test_defaults() -> None:
    shutdown = ShutdownConfig()
    assert (shutdown.pre_stop, shutdown.drain_spread) == (0, 10)
    assert (shutdown.drain_timeout, shutdown.upgrade_linger) == (300, 86400)


def test_as_a_file_writes_them() -> None:
    found = ShutdownConfig.model_validate(
        {"pre_stop": "10s", "drain_spread": "0s", "drain_timeout": "5m", "upgrade_linger": "1h"},
        context=FROM_FILE,
    )
    assert (found.pre_stop, found.drain_spread) == (10, 0)
    assert (found.drain_timeout, found.upgrade_linger) == (300, 3600)
    assert ShutdownConfig.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize("wrong", [{"drain_timeout": "0s"}, {"pre_stop": "-1s"}, {"pre_stop": 3}])
def test_what_is_not_a_time(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ShutdownConfig.model_validate(wrong, context=FROM_FILE)


@pytest.mark.parametrize("value", [1, 8, MOST_WORKERS, "auto"])
def test_numbers_of_workers(value: object) -> None:
    assert WORKERS.validate_python(value) == value


@pytest.mark.parametrize("value", [0, -1, MOST_WORKERS + 1, True, "4", "many", None, 1.5])
def test_what_is_no_number_of_workers(value: object) -> None:
    with pytest.raises(ValidationError, match='allowed: a number from 1 to 64, or "auto"'):
        WORKERS.validate_python(value)
