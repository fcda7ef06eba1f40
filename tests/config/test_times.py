"""Tests of ``gateway.config.times``: what is taken, and that the ends of time are not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.config.times import parse_time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-12-31T18:00:00+01:00", datetime(2026, 12, 31, 17, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    found = parse_time(text)
    assert found == time
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-12-31T18:00:00",
        "2026-12-31",
        "tomorrow",
        "",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00",
        "0001-01-01T00:00:00+12:00",
        "9999-12-31T23:59:59-12:00",
        5,
        True,
        None,
    ],
)
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match=r"^allowed: a time with its offset, .* 1970 to 9999$"):
        parse_time(value)
