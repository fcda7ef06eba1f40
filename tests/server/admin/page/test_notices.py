"""What an operator is pointed to."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.server.admin.page.notices import certificate_health, notices
from gateway.server.admin.page.values import CertificateRow, ControllerRow, Health, ReloadRow
from tests.server.admin.page.snapshots import DAY, NOW, session, snapshot

QUIET: dict[str, Any] = {
    "sessions": (),
    "timers": (),
    "controllers": (),
    "certificates": (),
    "reloads": (),
}


def test_nothing() -> None:
    assert notices(snapshot(**QUIET)) == ()


@pytest.mark.parametrize(
    ("changes", "health", "words", "section"),
    [
        ({"ready": False, "state": "draining"}, Health.BAD, "it is draining", "workers"),
        ({"left_out": 7}, Health.WARNING, "7 sessions are not shown", "sessions"),
        ({"silent": (4101,)}, Health.BAD, "Worker 4101 did not answer", "workers"),
        (
            {"controllers": (ControllerRow("m", "", Health.BAD, "down", "\x1b why", "", 0),)},
            Health.BAD,
            "Controller m is down: <U+001B> why.",
            "controllers",
        ),
        (
            {"reloads": (ReloadRow(NOW, "file", 2, "no such key"),)},
            Health.WARNING,
            "no such key",
            "reloads",
        ),
        ({"sessions": (session(5),)}, Health.WARNING, "1 session is suspect", "sessions"),
        (
            {"certificates": (CertificateRow("l", "f.crt", (), NOW - 1, None),)},
            Health.BAD,
            "f.crt: expired",
            "certificates",
        ),
    ],
)
def test_each(changes: dict[str, Any], health: Health, words: str, section: str) -> None:
    (notice,) = notices(snapshot(**(QUIET | changes)))
    assert (notice.health, notice.section) == (health, section)
    assert words in notice.text


def test_a_reload_that_was_put_right_is_none() -> None:
    reloads = (ReloadRow(NOW, "file", 3, None), ReloadRow(NOW - 9, "file", 2, "no"))
    assert notices(snapshot(**(QUIET | {"reloads": reloads}))) == ()


def test_the_worst_first_and_not_too_many() -> None:
    found = notices(snapshot(silent=tuple(range(100)), ready=False))
    assert [notice.health for notice in found] == sorted(
        (notice.health for notice in found), key=[Health.BAD, Health.WARNING].index
    )
    assert len([notice for notice in found if "did not answer" in notice.text]) == 5


@pytest.mark.parametrize(
    ("expires", "problem", "health", "words"),
    [
        (NOW + 30.5 * DAY, None, Health.GOOD, "ends in 30 d"),
        (NOW + 30.5 * DAY, "no intermediate", Health.WARNING, "no intermediate"),
        (NOW + 13.9 * DAY, None, Health.WARNING, "ends in 13 d"),
        (NOW + 0.5 * DAY, None, Health.WARNING, "ends within a day"),
        (NOW, None, Health.BAD, "expired"),
        (None, "no such file", Health.BAD, "no such file"),
        (None, None, Health.BAD, "cannot be read"),
    ],
)
def test_certificates(
    expires: float | None, problem: str | None, health: Health, words: str
) -> None:
    row = CertificateRow("l", "f", (), expires, problem)
    assert certificate_health(row, NOW) == (health, words)
