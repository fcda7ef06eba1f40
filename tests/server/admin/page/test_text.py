"""Values as people read them."""

from __future__ import annotations

import pytest

from gateway.server.admin.page import text
from tests.server.admin.page.snapshots import HOSTILE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5.0, "0 s"),
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h 0 min"),
        (86399.0, "23 h 59 min"),
        (86400.0, "1 d 0 h"),
        (400 * 86400.0, "400 d 0 h"),
    ],
)
def test_ages(seconds: float, words: str) -> None:
    assert text.age(seconds) == words


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1023 * 1024, "0.999 MiB"),
        (10 * 1024**3, "10 GiB"),
        (123_456_789, "118 MiB"),
        (1024**6, "1.02e+03 PiB"),
    ],
)
def test_sizes(octets: int | None, words: str) -> None:
    assert text.size(octets) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.0001234, "0.123 ms"), (0.0187, "18.7 ms"), (2.5, "2500 ms")],
)
def test_round_trips(seconds: float | None, words: str) -> None:
    assert text.milliseconds(seconds) == words


def test_numbers_and_times() -> None:
    assert text.number(None) == ""
    assert text.number(1234567) == "1\u202f234\u202f567"
    assert text.machine_time(0.9) == "1970-01-01T00:00:00Z"
    assert text.clock_time(1e300) == "9999-12-31 00:00:00"
    assert text.clock_time(-1e300) == "1970-01-01 00:00:00"


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_name_is_it_affects_nothing_around_it(name: str) -> None:
    html = str(text.name(name))
    assert html.startswith("<bdi>")
    assert html.endswith("</bdi>")
    inner = html[5:-6].replace('<span class="odd">', "").replace("</span>", "")
    assert not set("<>\"'") & set(inner)
    assert inner.isprintable()
    assert text.plain(name).isprintable()
    html.encode()


def test_what_is_not_seen_is_shown_by_its_number() -> None:
    assert text.plain("a\u202eb\x1b") == "a<U+202E>b<U+001B>"
    assert text.name("a\u202eb") == '<bdi>a<span class="odd">U+202E</span>b</bdi>'
    assert text.name("") == ""
    assert text.plain("plain") == "plain"
