"""Values as people read them.

Owns: ages, sizes, times, and names that may be anything.

Must not know: HTML but for what isolates a name, which values there are.

A node's name is whatever an agent sent. Characters that are not seen, or that change the order in
which others are seen (U+202E and its kin), could make one name look like another: they are shown by
their number. What is left may still be written from right to left, so names stand in ``<bdi>``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
# The last second that a date is made of; beyond it, and before 1970, times are not ours.
_LAST_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def plain(value: str) -> str:
    """Return a name with every unprintable character replaced by its number, as in ``<U+202E>``."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in value)


def name(value: str) -> Markup:
    """Return a stranger's text as HTML that affects nothing around it; nothing for none."""
    if not value:
        return Markup()
    if value.isprintable():
        return Markup("<bdi>{0}</bdi>").format(value)
    marked = Markup().join(
        escape(c)
        if c.isprintable()
        else Markup('<span class="odd">U+{0:04X}</span>').format(ord(c))
        for c in value
    )
    return Markup("<bdi>{0}</bdi>").format(marked)


def age(seconds: float) -> str:
    """Return a duration in its two largest units: ``45 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``.

    The page's script says it in the same words; a test compares them.
    """
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(octets: int | None) -> str:
    """Return a size with a binary unit and three digits; nothing for None."""
    if octets is None:
        return ""
    if octets < 1024:
        return f"{octets} B"
    value, place = octets / 1024, 0
    while value >= 999.5 and place < len(_UNITS) - 1:
        value, place = value / 1024, place + 1
    return f"{value:.3g} {_UNITS[place]}"


def milliseconds(seconds: float | None) -> str:
    """Return a round trip in milliseconds, three digits; nothing for None."""
    if seconds is None:
        return ""
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def number(value: int | None) -> str:
    """Return an integer in groups of three, which a thin space keeps apart; nothing for None."""
    return "" if value is None else f"{value:,}".replace(",", "\u202f")


def machine_time(at: float) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(_within(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock_time(at: float) -> str:
    """Return a time for people, in UTC, to the second."""
    return datetime.fromtimestamp(_within(at), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _within(at: float) -> float:
    return min(max(at, 0.0), _LAST_TIME)
