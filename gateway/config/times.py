"""Times of day as people write them: RFC 3339 with an offset.

Owns: which are taken. Everything that begins or ends at a time reads it here, so that whatever was
taken can also be shown again.

Must not know: what begins or ends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_ALLOWED: Final = (
    'allowed: a time with its offset, such as "2026-12-31T18:00:00Z", in the years 1970 to 9999'
)


def parse_time(text: object) -> datetime:
    """Return a time in UTC; ValueError, which says what is allowed, for anything else."""
    if not isinstance(text, str):
        raise ValueError(_ALLOWED)
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: beyond the year 1 or 9999, once in UTC
        raise ValueError(_ALLOWED) from None
    if time.year < 1970:
        raise ValueError(_ALLOWED)
    return time
